"""The segments of each category that a choice can fall on, in the order that their features are kept in."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from xpaste_ray.selection.columns import ALWAYS, Columns, columns_from

KEPT_COLUMNS = (*ALWAYS, "cam_distance", "class_score")

COLUMNS = (*KEPT_COLUMNS, "overlaps")
"""Those of `SCORES` that are read."""


@dataclass(frozen=True, slots=True, eq=False)
class CategorySegments:
    """Those of S rows of a score table that the classifier was shown, by image (its index, then its
    candidate's id), then by method and ordinal.

    rows: (S,) int64 in the table. image_of: (S,) int64 ascending, each image's number among those of the
    category that have a segment.
    """

    category_id: int
    category: str
    rows: np.ndarray
    image_of: np.ndarray

    @property
    def images(self) -> int:
        return int(self.image_of[-1]) + 1 if len(self.image_of) else 0


def segment_columns(scores: pa.Table) -> Columns:
    """Of a table with `COLUMNS`; the score is the classifier's. SchemaError if one is missing."""
    return columns_from(scores, COLUMNS, "class_score")


def segments_of(scores: pa.Table) -> list[CategorySegments]:
    """By category, in the order of their ids, those with at least one segment."""
    columns = segment_columns(scores)
    order = columns.pool_order()
    order = order[columns.usable[order]]
    category, candidate = columns.category[order], columns.candidate[order]
    found = []
    for start, end in _runs(category):
        rows = order[start:end]
        image_of = np.cumsum(np.diff(candidate[start:end], prepend=-1) != 0) - 1
        first = int(rows[0])
        names = scores["category_id"][first].as_py(), scores["category"][first].as_py()
        found.append(CategorySegments(*names, rows, image_of))
    return found


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of each run of equal values, none of which is negative."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(values)], strict=True)) if len(starts) else []
