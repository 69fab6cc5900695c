"""Proposals of one candidate that show what a better one shows already (`proposals: many`).

X-Paste's summary says only "remove duplicates or overlaps". Ours is non-maximum suppression over masks in the
order of the scores, by the overlaps that were measured when the masks were made.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.errors import SchemaError
from xpaste_ray.selection.columns import Columns
from xpaste_ray.selection.greedy import keep_better


def covered(
    columns: Columns,
    overlaps: pa.ChunkedArray,
    passing: np.ndarray,
    max_overlap_iou: float,
    max_containment: float,
) -> list[tuple[str, np.ndarray]]:
    """Of the `passing` rows (N,) bool: rows (n,) that go because a better one of their candidate stays.

    `overlap`: the IoU of the two is above `max_overlap_iou`. `duplicate`, else: of the smaller one's pixels,
    whichever of the two that is, more than `max_containment` are the other one's too.
    overlaps: as in `SCORES`; it is enough that one of the two tells. SchemaError for a place that the
    candidate does not have.
    """
    rows = np.flatnonzero(passing)
    lists = overlaps.take(pa.array(rows)).combine_chunks()
    told = lists.flatten()
    one = np.repeat(rows, pc.fill_null(lists.value_lengths(), 0).to_numpy())
    other = _row_at(columns.candidate, one, told.field("place").to_numpy(zero_copy_only=False))
    too_near = told.field("iou").to_numpy(zero_copy_only=False) > max_overlap_iou
    inside = told.field("contained").to_numpy(zero_copy_only=False) > max_containment
    pairs = (too_near | inside) & passing[other]
    one, other, too_near = one[pairs], other[pairs], too_near[pairs]
    swapped = _is_better(columns, other, one)
    better, worse = np.where(swapped, other, one), np.where(swapped, one, other)
    kept = keep_better(better, worse, len(passing))
    overlapping = np.zeros(len(passing), bool)
    overlapping[worse[too_near & kept[better]]] = True
    return [
        ("overlap", np.flatnonzero(~kept & overlapping)),
        ("duplicate", np.flatnonzero(~kept & ~overlapping)),
    ]


def _is_better(columns: Columns, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of two rows of one candidate, as in `Columns.best_first`."""
    equal = columns.score[a] == columns.score[b]
    better: np.ndarray = np.where(
        equal, columns.place[a] < columns.place[b], columns.score[a] > columns.score[b]
    )
    return better


def _row_at(candidate: np.ndarray, row: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The row at a place among those of the candidate of `row`, in the order in which they stand."""
    order = np.argsort(candidate, kind="stable")
    sizes = np.bincount(candidate)
    first = np.cumsum(sizes) - sizes
    wrong = (place < 0) | (place >= sizes[candidate[row]])
    if wrong.any():
        raise SchemaError(
            f"stage 'select': a row tells of an overlap with proposal {place[wrong][0]} of a candidate that "
            f"has {sizes[candidate[row]][wrong][0]}: the score table is not whole"
        )
    found: np.ndarray = order[first[candidate[row]] + place]
    return found
