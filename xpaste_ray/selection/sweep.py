"""How many instances other bars would keep, without selecting for each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.config import SelectSettings
from xpaste_ray.selection.columns import numbered, read_columns
from xpaste_ray.selection.duplicates import Embeddings
from xpaste_ray.selection.limits import relaxed_bars
from xpaste_ray.selection.quota import first_of_each, in_turn
from xpaste_ray.selection.rule import kept_rows


@dataclass(frozen=True, slots=True)
class Sweep:
    """made: candidates (`one-per-image`) or proposals (`many`) of each source, which the shares are of.
    kept: instances at each of `bars`, by source."""

    bars: tuple[float, ...]
    made: dict[str, int]
    kept: dict[str, tuple[int, ...]]


def sweep(
    scores: pa.Table,
    rule: SelectSettings,
    bars: Sequence[float],
    seed: int = 0,
    embeddings: Embeddings | None = None,
) -> Sweep:
    """What `select` keeps with each of `bars` as `min_clip_logit`; the rule must be `bar`.

    scores: with the columns of `select` and `source`. One selection at the lowest bar is enough: a higher one
    only takes the worse scores of each category away, which no better one lost to.
    """
    columns = read_columns(scores, rule)
    widest = rule.model_copy(update={"min_clip_logit": min(bars), "max_per_category": None})
    rows = kept_rows(columns, scores, widest, seed, embeddings)
    if rule.max_per_category is not None:
        rows = in_turn(columns, scores, rows, rule, seed)
    score, category = columns.score[rows], columns.category[rows]
    level = np.where(
        score >= relaxed_bars(columns, rule)[category], np.inf, score
    )  # of the highest bar reached
    sources, source = pc.unique(scores["source"]).sort().to_pylist(), numbered(scores["source"])
    counts = []
    for bar in bars:
        passes = level >= np.float32(bar)
        if rule.max_per_category is not None:
            passes[passes] = first_of_each(category[passes], rule.max_per_category)
        counts.append(np.bincount(source[rows[passes]], minlength=len(sources)).tolist())
    made = (
        source[columns.place >= 0] if rule.proposals == "many" else _of_candidates(columns.candidate, source)
    )
    return Sweep(
        tuple(bars),
        dict(zip(sources, np.bincount(made, minlength=len(sources)).tolist(), strict=True)),
        {name: tuple(count[i] for count in counts) for i, name in enumerate(sources)},
    )


def _of_candidates(candidate: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The source of each candidate."""
    found = np.zeros(candidate.max(initial=-1) + 1, source.dtype)
    found[candidate] = source
    return found
