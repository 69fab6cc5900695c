"""Counts that several sections need."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from xpaste_ray.html_report.blocks import Cell, Column, Histogram, Mark, Series

_BINS = 30


def histogram(
    title: str,
    x: str,
    groups: Mapping[str, np.ndarray],
    marks: Iterable[Mark] = (),
    span: tuple[float, float] | None = None,
    note: str = "",
) -> Histogram | None:
    """Of the groups' finite values, in shared bins; None if there are none. span: of the bins, that of the
    values if not given."""
    finite = {name: values[np.isfinite(values)] for name, values in groups.items()}
    known = np.concatenate(list(finite.values()))
    if not len(known):
        return None
    edges = np.histogram_bin_edges(known, _BINS, span)
    series = (Series(name, tuple(np.histogram(values, edges)[0].tolist())) for name, values in finite.items())
    return Histogram(title, x, tuple(edges.tolist()), tuple(series), tuple(marks), note)


def reasons_text(rejected: Mapping[str, int]) -> str:
    """Most first: "low_clip_logit 1,204, black_image 3"."""
    ordered = sorted(rejected.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{reason} {count:,}" for reason, count in ordered)


def counted(values: np.ndarray) -> dict[Any, int]:
    """How often each value is there, in their order."""
    names, counts = np.unique(values, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def told_columns(
    columns: Sequence[Column], rows: Sequence[tuple[Cell, ...]]
) -> tuple[tuple[Column, ...], tuple[tuple[Cell, ...], ...]]:
    """Those columns in which something is told, and their cells."""
    told = [place for place in range(len(columns)) if any(row[place] not in (None, "") for row in rows)]
    return tuple(columns[place] for place in told), tuple(tuple(row[place] for place in told) for row in rows)
