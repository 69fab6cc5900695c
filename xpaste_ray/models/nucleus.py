"""Nucleus sampling (Holtzman et al. 2020), by numbers that are given: a word depends on nothing else."""

from collections.abc import Sequence

import numpy as np


def pick_token(
    logits: np.ndarray,
    number: float,
    top_p: float,
    earlier: Sequence[int] = (),
    repetition_penalty: float = 1.0,
    banned: Sequence[int] = (),
) -> int:
    """The token that `number`, in [0, 1), falls on, among the likeliest that have `top_p` of the probability
    together; the one that reaches it is among them.

    logits: (V,). earlier: tokens that were taken already, whose logits are divided by the penalty (multiplied
    where they are negative: Keskar et al. 2019). banned: never taken.
    """
    scores = logits.astype(np.float64)
    seen = sorted(set(earlier))
    scores[seen] = np.where(
        scores[seen] < 0, scores[seen] * repetition_penalty, scores[seen] / repetition_penalty
    )
    scores[list(banned)] = -np.inf
    order = np.argsort(-scores, kind="stable")
    weights = np.exp(scores[order] - scores[order[0]])
    sums = np.cumsum(weights / weights.sum())
    count = int(np.searchsorted(sums, top_p * (1 - 1e-12))) + 1
    place = np.searchsorted(sums[:count], number * sums[count - 1], side="right")
    return int(order[min(place, count - 1)])
