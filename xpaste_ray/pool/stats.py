"""What is in a pool: counts and scores, read from its columns, never from its pixels."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.errors import ConfigError
from xpaste_ray.pool.layout import FORMAT, MANIFEST
from xpaste_ray.pool.reader import Pool
from xpaste_ray.records import SCORE_NAMES

_BINS = 20


@dataclass(frozen=True, slots=True)
class ScoreSpread:
    """One group's scores. histogram: counts between the edges that all groups share."""

    count: int
    lowest: float
    median: float
    highest: float
    histogram: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """counts: by what an instance's column says, largest first, "unknown" where it says nothing.
    categories: (id, name, instances), those without any too. scores: of `score`, by category id and by
    source; instances without one are in none."""

    format: int
    fingerprint: str
    instances: int
    bytes: int
    categories: tuple[tuple[int, str, int], ...]
    counts: dict[str, dict[str, int]]
    score: str
    edges: tuple[float, ...]
    by_category: dict[int, ScoreSpread]
    by_source: dict[str, ScoreSpread]

    @property
    def empty_categories(self) -> int:
        return sum(not instances for _, _, instances in self.categories)


def describe(pool: Pool, score: str = "clip_logit") -> PoolInfo:
    """ConfigError for a score that there is not."""
    if score not in SCORE_NAMES:
        raise ConfigError(f"--score {score}: give one of {', '.join(SCORE_NAMES)}")
    rows = pool.rows_by_category
    categories = tuple((one.id, one.name, len(rows.get(one.id, ()))) for one in pool.categories)
    counts = {name: _counts(pool.column(name)) for name in ("source", "method", "model", "encoding")}
    values = scores_of(pool, score)
    known = values[np.isfinite(values)]
    edges = np.histogram_bin_edges(known, _BINS) if len(known) else np.array([])
    sources = pool.column("source").to_numpy()
    return PoolInfo(
        format=FORMAT,
        fingerprint=pool.fingerprint,
        instances=len(pool),
        bytes=sum(
            (pool.folder / name).stat().st_size for name in (MANIFEST, *(file["name"] for file in pool.files))
        ),
        categories=categories,
        counts=counts,
        score=score,
        edges=tuple(edges.tolist()),
        by_category=_spreads(values, pool.category_ids, edges),
        by_source=_spreads(values, sources, edges),
    )


def scores_of(pool: Pool, score: str) -> np.ndarray:
    """One score of all instances, (len(pool),) float64; NaN where there is none."""
    if score == "clip_logit":
        return np.asarray(pool.column(score).to_numpy(), np.float64)
    found = pc.map_lookup(pool.column("scores"), pa.scalar(score), "first")
    return np.asarray(found.to_numpy(), np.float64)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    found = Counter(pc.fill_null(column, "unknown").to_pylist())
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _spreads(values: np.ndarray, groups: np.ndarray, edges: np.ndarray) -> dict[Any, ScoreSpread]:
    """By group, in order; groups without any score are left out."""
    known = np.isfinite(values)
    values, groups = values[known], groups[known]
    found = {}
    for group in np.unique(groups).tolist():
        own = values[groups == group]
        histogram, _ = np.histogram(own, edges)
        found[group] = ScoreSpread(
            len(own), float(own.min()), float(np.median(own)), float(own.max()), tuple(histogram.tolist())
        )
    return found
