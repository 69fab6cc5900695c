"""Segment stage: mask proposals for every usable image, by each of the methods."""

import logging
import sys
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from xpaste_ray.config import SegmentSettings
from xpaste_ray.config.segment import AnyMethod, LimitSettings
from xpaste_ray.errors import RowError
from xpaste_ray.masks import OBJECT_ABOVE, BoxXYWH, object_fraction, tight_box_xywh
from xpaste_ray.models.segmenters import (
    Choosy,
    Segmenter,
    Shown,
    SoftMask,
    build_segmenter,
    sees_only_the_image,
)
from xpaste_ray.overlaps import overlaps_of
from xpaste_ray.records import Candidate, Proposal
from xpaste_ray.stages.batches import Outcome, ShapedBatches
from xpaste_ray.stages.faults import Failure

_LOG = logging.getLogger(__name__)


class SegmentStage:
    """Adds the proposals of every method, and how they overlap; a candidate that has some already (its source
    knew the objects) stays as it is.

    Where a method fails on a candidate, or finds nothing there, it leaves one rejected proposal, and the
    other methods' stay. Methods run, and their proposals stand, in the order of their names: the order in
    the settings is not part of a recipe. Candidates that show the same image, for several of its categories,
    share what does not depend on the category: it is computed once.
    """

    def __init__(self, settings: SegmentSettings, device: str = "cpu") -> None:
        self._methods = [
            _Method(name, told, settings.limits, device) for name, told in sorted(settings.methods.items())
        ]

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        done = list(candidates)
        places = [i for i, one in enumerate(candidates) if one.status == "ok" and not one.proposals]
        shown = [_shown(candidates[i]) for i in places]
        images = [_image_of(candidates[i]) for i in places]
        for method in self._methods:
            for i, outcome in zip(places, method(shown, images), strict=True):
                done[i] = _with(done[i], method.name, outcome)
        known: dict[tuple[int, ...], tuple[Proposal, ...]] = {}
        for i in places:
            same = tuple(map(id, done[i].proposals))  # shared by candidates of one image
            if same not in known:
                known[same] = _with_overlaps(done[i].proposals)
            done[i] = replace(done[i], proposals=known[same])
        return done


class _Method:
    """One segmenter under the user's name for it, in batches of its own shape."""

    def __init__(self, name: str, settings: AnyMethod, limits: LimitSettings, device: str) -> None:
        self.name = name
        self._limits = limits
        self._shared = sees_only_the_image(settings)
        self._threads: int | None = getattr(settings, "threads", None)
        self._segmenter: Segmenter = build_segmenter(settings, device)
        self._batches: ShapedBatches[Shown, tuple[Proposal, ...]] = ShapedBatches(
            self._propose,
            self._segmenter.micro_batch,
            "segmentation_failed",
            lambda one: f"{one.candidate_id} with {name}",
        )

    def __call__(
        self, shown: Sequence[Shown], images: Sequence[Hashable]
    ) -> list[Outcome[tuple[Proposal, ...]]]:
        """images: what each shows; the same for those that show the same."""
        if not self._shared:
            return self._outcomes(shown)
        first: dict[Hashable, Shown] = {}
        for image, one in zip(images, shown, strict=True):
            first.setdefault(image, one)
        outcomes = dict(zip(first, self._outcomes(list(first.values())), strict=True))
        return [outcomes[image] for image in images]

    def _outcomes(self, shown: Sequence[Shown]) -> list[Outcome[tuple[Proposal, ...]]]:
        if self._threads is not None and (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(self._threads)  # of this process, so another method may have changed it
        refusals = [self._refusal(one.category) for one in shown]
        accepted = [one for one, reason in zip(shown, refusals, strict=True) if reason is None]
        outcomes = iter(self._batches(accepted))
        return [Outcome(None, Failure(reason)) if reason else next(outcomes) for reason in refusals]

    def _refusal(self, category: str) -> str | None:
        return self._segmenter.refusal(category) if isinstance(self._segmenter, Choosy) else None

    def _propose(self, shown: Sequence[Shown]) -> list[tuple[Proposal, ...]]:
        found = self._segmenter(shown)
        return [self._proposals(one, masks) for one, masks in zip(shown, found, strict=True)]

    def _proposals(self, one: Shown, found: Sequence[SoftMask]) -> tuple[Proposal, ...]:
        """Best score first; equal ones by their boxes from the left, then as the method found them."""
        if not found:
            return (_rejected(self.name, "nothing_found"),)
        masks = [_quantised(soft, one) for soft in found]
        boxes = [tight_box_xywh(mask > OBJECT_ABOVE) or (0, 0, 0, 0) for mask in masks]
        order = sorted(range(len(found)), key=lambda i: (-found[i].score, boxes[i]))
        return tuple(
            _measured(self.name, ordinal, masks[i], boxes[i], self._limits) for ordinal, i in enumerate(order)
        )


def _shown(candidate: Candidate) -> Shown:
    prompt = candidate.prompt
    return Shown(prompt.candidate_id, prompt.category, candidate.image, prompt.uri)


def _image_of(candidate: Candidate) -> Hashable:
    """The same for two candidates of a source if they show the same image; a generated one is alone."""
    prompt = candidate.prompt
    if prompt.uri is None:
        return prompt.candidate_id
    return prompt.source, prompt.uri, candidate.content_hash


def _quantised(soft: SoftMask, one: Shown) -> np.ndarray:
    """(H, W) uint8. RowError for numbers that are none, ValueError for a mask of another image."""
    if not (np.isfinite(soft.mask).all() and np.isfinite(soft.score)):
        raise RowError("nan_mask")
    if soft.mask.shape != one.image.shape[:2]:
        raise ValueError(f"a mask of {soft.mask.shape} for an image of {one.image.shape[:2]}")
    return np.rint(soft.mask * 255).astype(np.uint8)


def _measured(
    method: str, ordinal: int, mask: np.ndarray, box_xywh: BoxXYWH, limits: LimitSettings
) -> Proposal:
    area_fraction = object_fraction(mask)
    if area_fraction == 0:
        return Proposal(method, ordinal, mask, "rejected", "empty_mask", area_fraction)
    if (reason := _beyond(limits, area_fraction, box_xywh, mask.shape)) is not None:
        return Proposal(method, ordinal, None, "rejected", reason, area_fraction)
    return Proposal(method, ordinal, mask, area_fraction=area_fraction)


def _beyond(
    limits: LimitSettings, area_fraction: float, box_xywh: BoxXYWH, size_hw: tuple[int, ...]
) -> str | None:
    if limits.min_area_fraction is not None and area_fraction < limits.min_area_fraction:
        return "area_too_small"
    if limits.max_area_fraction is not None and area_fraction > limits.max_area_fraction:
        return "area_too_large"
    span = max(box_xywh[2] / size_hw[1], box_xywh[3] / size_hw[0])
    if limits.max_box_span is not None and span >= limits.max_box_span:
        return "spans_image"
    return None


def _rejected(method: str, reason: str) -> Proposal:
    return Proposal(method, 0, None, status="rejected", reason=reason)


def _with(candidate: Candidate, method: str, outcome: Outcome[tuple[Proposal, ...]]) -> Candidate:
    failure = outcome.failure
    made = outcome.value if outcome.value is not None else ()
    if failure is not None:
        made = (_rejected(method, failure.reason),)
    return replace(
        candidate,
        proposals=(*candidate.proposals, *made),
        degraded_shape=candidate.degraded_shape or outcome.degraded,
        transient=candidate.transient or (failure is not None and failure.transient),
    )


def _with_overlaps(found: tuple[Proposal, ...]) -> tuple[Proposal, ...]:
    """Those of the usable proposals, by their places among all."""
    proposals = list(found)
    places = [i for i, one in enumerate(proposals) if one.status == "ok" and one.mask is not None]
    masks = [proposals[i].mask > OBJECT_ABOVE for i in places]
    for i, overlaps in zip(places, overlaps_of(masks), strict=True):
        there = tuple((places[j], iou, contained) for j, iou, contained in overlaps)
        proposals[i] = replace(proposals[i], overlaps=there)
    return tuple(proposals)
