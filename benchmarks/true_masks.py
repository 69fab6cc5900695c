"""How good chosen segments are, against the true masks of the objects that an image shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xpaste_ray.embedded.labelled import ShownObject


@dataclass(frozen=True, slots=True)
class Overlap:
    """Of one segment. own: its largest IoU with a true object of the category that is sought. other: with an
    object of another kind, labelled or not. 0 where there is none."""

    own: float
    other: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Of the segments that were chosen, one a candidate; a candidate without one counts as an IoU of 0.

    above_50, above_75: share of the candidates whose segment has that IoU with an object of its category, or
    more. impure: share whose segment overlaps an object of another kind more than any of its category.
    """

    candidates: int
    above_50: float
    above_75: float
    mean_iou: float
    impure: float


def overlap_with(mask: np.ndarray, objects: Sequence[ShownObject], category: str) -> Overlap:
    """mask: (H, W) bool, in the frame of the objects' masks."""
    found = {True: 0.0, False: 0.0}
    for one in objects:
        is_own = one.category == category
        found[is_own] = max(found[is_own], iou(mask, one.mask))
    return Overlap(found[True], found[False])


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Of two (H, W) bool masks; 0 if both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0


def quality(chosen: np.ndarray, own: np.ndarray, other: np.ndarray) -> Quality:
    """chosen: (candidates,) int64, a place among the segments, or -1. own, other: (segments,) each, see
    `Overlap`."""
    has_one = chosen >= 0
    best = np.where(has_one, own[chosen], 0.0)
    wrong = has_one & (other[chosen] > best)
    return Quality(
        candidates=len(chosen),
        above_50=float((best >= 0.5).mean()),
        above_75=float((best >= 0.75).mean()),
        mean_iou=float(best.mean()),
        impure=float(wrong.mean()),
    )
