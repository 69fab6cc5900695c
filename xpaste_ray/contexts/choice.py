"""Which generated images of a caption are kept."""

import math
from dataclasses import dataclass

import numpy as np

from xpaste_ray.config.contexts import ContextSelectSettings

KEPT, LOW_CAPTION_LOGIT, SHOWS_TARGET = "kept", "low_caption_logit", "shows_target"


@dataclass(frozen=True, slots=True)
class Columns:
    """Of N images. caption: (N,) int, which caption each is of. caption_logit, class_logit: (N,) float32.
    usable: (N,) bool, those that have scores; the others are left alone."""

    caption: np.ndarray
    caption_logit: np.ndarray
    class_logit: np.ndarray
    usable: np.ndarray


def choose(columns: Columns, rule: ContextSelectSettings) -> list[str]:
    """`kept`, or the reason why not, of each image; "" of those that are not usable. Of equal scores the
    earlier image is the better one."""
    outcomes = np.where(columns.usable, KEPT, "").astype(object)
    if rule.rule == "two-sided":
        rows = np.flatnonzero(columns.usable)
        captions = columns.caption[rows]
        places = rank_in_group(captions, columns.class_logit[rows])
        _, group, counts = np.unique(captions, return_inverse=True, return_counts=True)
        most = np.array([math.ceil(rule.pure * count - 1e-9) for count in counts], int)
        outcomes[rows[places >= most[group]]] = SHOWS_TARGET
    rows = np.flatnonzero(outcomes == KEPT)
    places = rank_in_group(columns.caption[rows], -columns.caption_logit[rows])
    outcomes[rows[places >= rule.keep]] = LOW_CAPTION_LOGIT
    told: list[str] = outcomes.tolist()
    return told


def rank_in_group(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(N,) int: the place of each value among those of its group, from 0, the lowest first; of equal ones the
    earlier first."""
    order = np.lexsort((np.arange(len(values)), values, groups))
    ordered = groups[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(order) else order
    places = np.empty(len(order), int)
    places[order] = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    return places
