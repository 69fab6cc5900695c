"""Features of more segments than memory holds: read some rows at a time, in order."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np


class Features(Protocol):
    """(n, D) float16 or float32, some rows at a time. A row that is not finite is of no use."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


def chunks(features: Features, rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """All of them in order, so many rows at a time, each with the number of its first row."""
    for start in range(0, len(features), rows):
        yield start, features[start : start + rows]


def gather(features: Features, rows: np.ndarray, chunk_rows: int) -> np.ndarray:
    """(n, D) of some rows, ascending. Chunks without one of them are not read."""
    found = np.empty((len(rows), features[:0].shape[1]), features[:0].dtype)
    ends = np.searchsorted(rows, np.arange(0, len(features) + chunk_rows, chunk_rows))
    for number, (first, end) in enumerate(pairwise(ends.tolist())):
        if first < end:
            start = number * chunk_rows
            found[first:end] = features[start : start + chunk_rows][rows[first:end] - start]
    return found
