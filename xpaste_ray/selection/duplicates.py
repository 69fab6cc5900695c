"""Instances of one category that CLIP can hardly tell apart: the better one stays."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from xpaste_ray.selection.columns import Columns
from xpaste_ray.selection.greedy import keep_better

_BLOCK = 1024  # rows that are compared at a time, with as many: 4 MiB of cosines
_DOUBT = 1e-4  # nearer to the limit than any rounding of a float32 product of 1024 dimensions


class Vectors(Protocol):
    """(n, D) numbers, some rows at a time; a row that has none is all zeros."""

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


Embeddings = Callable[[np.ndarray], Vectors]
"""The embeddings of rows of the score table, in the given order."""


def near_duplicates(columns: Columns, rows: np.ndarray, limit: float, embeddings: Embeddings) -> np.ndarray:
    """Those of `rows` that have a cosine above `limit` to a better one of their category that stays.

    Only one category's vectors are held at a time. Which side of the limit a pair falls on does not depend on
    the machine's matrix product.
    """
    rows = columns.best_first(rows)
    vectors = embeddings(rows)
    starts = np.flatnonzero(np.diff(columns.category[rows], prepend=-1))
    kept = np.ones(len(rows), bool)
    for start, end in zip(starts, np.append(starts, len(rows))[1:], strict=True):
        kept[start:end] = distinct(_unit(vectors[slice(start, end)]), limit)
    return rows[~kept]


def distinct(vectors: np.ndarray, limit: float) -> np.ndarray:
    """(n,) bool: which stay, of unit vectors (n, D) float32 with the best first."""
    kept = np.zeros(len(vectors), bool)
    for start in range(0, len(vectors), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(vectors)))
        earlier = np.flatnonzero(kept)
        for at in range(0, len(earlier), _BLOCK):
            others = earlier[at : at + _BLOCK]
            near, _ = _pairs(vectors[block], vectors[others], limit)
            block = np.delete(block, near)
        worse, better = _pairs(vectors[block], vectors[block], limit)
        ordered = better < worse
        kept[block] = keep_better(better[ordered], worse[ordered], len(block))
    return kept


def _pairs(a: np.ndarray, b: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Places in `a` and in `b` of the pairs whose cosine is above the limit."""
    cosines = a @ b.T
    i, j = np.nonzero(cosines > limit - _DOUBT)
    sure = cosines[i, j] > limit + _DOUBT
    for some in _blocks(np.flatnonzero(~sure)):
        sure[some] = _exact(a[i[some]], b[j[some]]) > limit
    return i[sure], j[sure]


def _exact(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines of pairs, always summed in the same order."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    cosines: np.ndarray = (x * y).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    return cosines


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """As float32 of length 1; zeros stay zeros, which are near to nothing."""
    wide = vectors.astype(np.float32)
    lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return wide / np.where(lengths > 0, lengths, 1)
