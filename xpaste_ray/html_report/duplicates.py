"""Instances of one category that are hardly told apart by their embeddings, and those of one image."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from xpaste_ray.html_report.blocks import Block, Figure, Figures, Gallery, Mark, Section, Shot
from xpaste_ray.html_report.counting import histogram, share
from xpaste_ray.html_report.given import KEPT, Given, readable
from xpaste_ray.html_report.instances import instance_shot
from xpaste_ray.pipelines.scores import stored_embeddings
from xpaste_ray.pool import Pool
from xpaste_ray.rng import rng_for
from xpaste_ray.selection import Vectors

NEAR = 0.95  # the cosine from which on a pair counts as near-duplicates, if the rule has no limit of its own

_MOST_OF_CATEGORY = 4000  # compared with each other: 16 million cosines
_BLOCK = 1024
_PAIRS = 8
_DIGITS = 4  # of a cosine: more differ between machines


@dataclass(frozen=True, slots=True)
class Nearest:
    """Of instances that were compared. rows: (n,) of the pool. cosine: (n,) float32 to the nearest other one
    of the category; other: (n,) which, a row of the pool, -1 for none."""

    rows: np.ndarray
    cosine: np.ndarray
    other: np.ndarray


def duplicates(given: Given) -> Section | None:
    """None without instances."""
    pool = given.pool
    if pool is None or not len(pool):
        return None
    images = pool.rows_by_source_image
    figures = [
        Figure("source images", len(images)),
        Figure("instances of an image with several", sum(len(rows) for rows in images if len(rows) > 1)),
    ]
    nearest, limit = _nearest(given, pool), _limit(given)
    if nearest is None:
        note = "Near-duplicates are found by embeddings, which only a run with its candidates has."
        return Section("duplicates", "Near-duplicates", (Figures(tuple(figures)),), note)
    near = nearest.cosine > limit
    figures += [
        Figure(f"with a near-duplicate (cosine above {limit:g})", int(near.sum())),
        Figure("of those compared", share(int(near.sum()), len(near)), f"{len(near):,} compared", "share"),
    ]
    blocks: list[Block] = [Figures(tuple(figures)), *_shown(pool, nearest, limit)]
    return Section("duplicates", "Near-duplicates", tuple(blocks), _note(len(nearest.rows), len(pool)))


def _limit(given: Given) -> float:
    own = given.rule.max_duplicate_cosine if given.rule else None
    return NEAR if own is None else own


def _note(compared: int, instances: int) -> str:
    told = "Cosines of the embeddings, within each category."
    if compared < instances:
        told += f" Of a category, at most {_MOST_OF_CATEGORY:,} instances are compared, drawn by key."
    return told


def _shown(pool: Pool, nearest: Nearest, limit: float) -> Iterator[Block]:
    known = nearest.cosine[nearest.other >= 0]
    marks = (Mark(f"limit {limit:g}", limit),)
    shown = histogram("Likeness to the nearest of the category", "cosine", {"instances": known}, marks)
    if shown:
        yield shown
    shots = [shot for pair in _pairs(nearest) for shot in _pair_shots(pool, *pair)]
    if shots:
        yield Gallery("The most alike, in pairs", tuple(shots), "With the cosine of the pair.")


def _pairs(nearest: Nearest) -> list[tuple[int, int, float]]:
    """The most alike first, each pair once."""
    found: dict[tuple[int, int], float] = {}
    for place in np.lexsort((nearest.rows, -nearest.cosine)).tolist():
        row, other = int(nearest.rows[place]), int(nearest.other[place])
        if other >= 0:
            found.setdefault((min(row, other), max(row, other)), float(nearest.cosine[place]))
        if len(found) == _PAIRS:
            break
    return [(*pair, cosine) for pair, cosine in found.items()]


def _pair_shots(pool: Pool, first: int, second: int, cosine: float) -> Iterator[Shot]:
    for row, other in ((first, second), (second, first)):
        more = {"cosine": cosine, "nearest": pool.instance_ids[other]}
        yield instance_shot(pool, row, f"{cosine:.3f}", more)


def _nearest(given: Given, pool: Pool) -> Nearest | None:
    """None without embeddings."""
    if given.scores is None or not given.run.candidates.is_dir():
        return None
    rows = np.flatnonzero(given.outcomes == KEPT)
    names = given.row_ids.take(pa.array(rows)).to_pylist()
    score_row = dict(zip(names, rows.tolist(), strict=True))
    groups = [_drawn(category, own) for category, own in pool.rows_by_category.items()]
    with readable(given.run.candidates), stored_embeddings(given.run, given.scores) as embeddings:
        wanted = [score_row[pool.instance_ids[row]] for row in np.concatenate(groups).tolist()]
        vectors, start, found = embeddings(np.array(wanted)), 0, []
        for own in groups:
            found.append(_nearest_in(own, vectors, start))
            start += len(own)
    parts = (np.concatenate([getattr(one, name) for one in found]) for name in ("rows", "cosine", "other"))
    nearest = Nearest(*parts)
    return nearest if len(nearest.rows) else None


def _drawn(category: int, rows: np.ndarray) -> np.ndarray:
    if len(rows) <= _MOST_OF_CATEGORY:
        return rows
    drawn = rng_for(0, "report", "duplicates", category).choice(rows, _MOST_OF_CATEGORY, replace=False)
    return np.sort(drawn)


def _nearest_in(rows: np.ndarray, vectors: Vectors, start: int) -> Nearest:
    """Of one category, whose vectors are those from `start` on. Those without an embedding are left out."""
    values = vectors[start : start + len(rows)].astype(np.float32)
    lengths = np.sqrt((values * values).sum(axis=1, keepdims=True))
    there = lengths[:, 0] > 0
    rows, unit = rows[there], values[there] / lengths[there]
    cosine, other = np.full(len(rows), -1, np.float32), np.full(len(rows), -1)
    for first in range(0, len(rows) if len(rows) > 1 else 0, _BLOCK):
        block = np.round(unit[first : first + _BLOCK] @ unit.T, _DIGITS)
        own = np.arange(len(block))
        block[own, first + own] = -np.inf
        best = block.argmax(axis=1)
        cosine[first : first + _BLOCK], other[first : first + _BLOCK] = block[own, best], rows[best]
    return Nearest(rows, cosine, other)
