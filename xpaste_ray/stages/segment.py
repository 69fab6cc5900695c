"""Segment stage: a mask proposal for every usable image."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xpaste_ray.config import SegmentSettings
from xpaste_ray.models.grabcut import grabcut_mask
from xpaste_ray.records import Candidate, Proposal
from xpaste_ray.rng import int_seed_for

_LOG = logging.getLogger(__name__)


class SegmentStage:
    """Adds the proposals of one method. A failure rejects the proposal, not the candidate's others."""

    def __init__(self, settings: SegmentSettings) -> None:
        self._settings = settings

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        return [
            replace(candidate, proposals=(*candidate.proposals, self._propose(candidate)))
            if candidate.status == "ok"
            else candidate
            for candidate in candidates
        ]

    def _propose(self, candidate: Candidate) -> Proposal:
        method = self._settings.method
        try:
            mask = self._segment(candidate)
        except Exception:
            _LOG.exception("segmenting %s with %s failed", candidate.prompt.candidate_id, method)
            return Proposal(method, 0, None, status="rejected", reason="segmentation_failed")
        area_fraction = float(np.mean(mask > 128))
        if area_fraction == 0:
            return Proposal(method, 0, mask, "rejected", "empty_mask", area_fraction)
        return Proposal(method, 0, mask, area_fraction=area_fraction)

    def _segment(self, candidate: Candidate) -> np.ndarray:
        seed = int_seed_for(0, "grabcut", candidate.prompt.candidate_id, bits=31)
        settings = self._settings
        return grabcut_mask(candidate.image, settings.border_px, settings.iterations, seed)
