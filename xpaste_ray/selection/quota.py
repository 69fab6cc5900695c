"""At most so many a category."""

import numpy as np
import pyarrow as pa

from xpaste_ray.config import SelectSettings
from xpaste_ray.rng import int_seed_for
from xpaste_ray.selection.columns import Columns


def in_turn(
    columns: Columns, scores: pa.Table, rows: np.ndarray, rule: SelectSettings, seed: int
) -> np.ndarray:
    """Those rows by category, in each in the order in which they are taken: the best first, or a random
    one, which follows from the seed and each proposal's identity and so from nothing else in the table."""
    rows = columns.best_first(rows)
    if rule.pick == "best":
        return rows
    ids = (scores[name].take(pa.array(rows)).to_pylist() for name in ("candidate_id", "method", "ordinal"))
    lots = np.array([int_seed_for(seed, "select", *one) for one in zip(*ids, strict=True)], np.int64)
    return rows[np.lexsort((lots, columns.category[rows]))]  # stable: equals stay in the order of the best


def first_of_each(groups: np.ndarray, count: int) -> np.ndarray:
    """(n,) bool: which are among the first `count` of their group; equal groups stand together."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    sizes = np.diff(starts, append=len(groups))
    first: np.ndarray = np.arange(len(groups)) - np.repeat(starts, sizes) < count
    return first
