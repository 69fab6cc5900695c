"""Segment stage: a mask proposal for every usable image."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xpaste_ray.config import SegmentSettings
from xpaste_ray.models.grabcut import grabcut_mask
from xpaste_ray.records import Candidate, Proposal
from xpaste_ray.rng import int_seed_for
from xpaste_ray.stages.faults import failure_of

_LOG = logging.getLogger(__name__)


class SegmentStage:
    """Adds the proposals of one method. A failure rejects the proposal, not the candidate's others."""

    def __init__(self, settings: SegmentSettings, device: str = "cpu") -> None:
        ((self._name, self._settings),) = settings.methods.items()

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        return [self._with_proposal(c) if c.status == "ok" else c for c in candidates]

    def _with_proposal(self, candidate: Candidate) -> Candidate:
        method = self._name
        try:
            return _with(candidate, _measured(method, self._segment(candidate)))
        except Exception as error:
            _LOG.exception("segmenting %s with %s failed", candidate.prompt.candidate_id, method)
            failure = failure_of(error, "segmentation_failed")
        rejected = Proposal(method, 0, None, status="rejected", reason=failure.reason)
        return replace(_with(candidate, rejected), transient=candidate.transient or failure.transient)

    def _segment(self, candidate: Candidate) -> np.ndarray:
        seed = int_seed_for(0, "grabcut", candidate.prompt.candidate_id, bits=31)
        settings = self._settings
        return grabcut_mask(candidate.image, settings.border_px, settings.iterations, seed)


def _with(candidate: Candidate, proposal: Proposal) -> Candidate:
    return replace(candidate, proposals=(*candidate.proposals, proposal))


def _measured(method: str, mask: np.ndarray) -> Proposal:
    area_fraction = float(np.mean(mask > 128))
    if area_fraction == 0:
        return Proposal(method, 0, mask, "rejected", "empty_mask", area_fraction)
    return Proposal(method, 0, mask, area_fraction=area_fraction)
