"""Greedy suppression, without walking row by row."""

import numpy as np


def keep_better(better: np.ndarray, worse: np.ndarray, count: int) -> np.ndarray:
    """(count,) bool: which items stay when, from the best on, each that stays removes its worse partners.

    better, worse: (P,) int, the pairs that cannot both stay; their order must be one that a walk could have
    (no item is better than itself, through others). A round settles all whose better partners are settled.
    """
    kept = np.ones(count, bool)
    waits = np.zeros(count, bool)
    while len(worse):
        waits[worse] = True
        kept[worse[~waits[better]]] = False
        waits[worse] = False
        open_ = kept[better] & kept[worse]
        better, worse = better[open_], worse[open_]
    return kept
