"""What is shown of a pool: the best, those at the bar, and those that were rejected."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from xpaste_ray.config import SelectSettings
from xpaste_ray.html_report.blocks import Gallery, Section, Shot, Tone
from xpaste_ray.html_report.given import KEPT, Given
from xpaste_ray.html_report.pictures import cutout_picture, made_pictures
from xpaste_ray.pool import Pool
from xpaste_ray.pool.stats import scores_of
from xpaste_ray.rng import rng_for
from xpaste_ray.selection.columns import columns_from
from xpaste_ray.selection.limits import bars

_BEST, _ANY, _AT_BAR, _OF_REASON, _REASONS = 16, 24, 8, 8, 10


def samples(given: Given) -> Section | None:
    """None without instances and without rejects that can be shown."""
    galleries = [*_of_pool(given), *_at_bar(given), *_rejected(given)]
    return Section("samples", "Samples", tuple(galleries), _NOTE) if galleries else None


_NOTE = "A click on a picture shows where it comes from."


def instance_shot(pool: Pool, row: int, caption: str, more: Mapping[str, Any] | None = None) -> Shot:
    """An instance of the pool with its provenance."""
    told = {name: one for name, one in pool.provenance(row).items() if one is not None}
    told["scores"] = dict(told.get("scores") or ())
    label = f"{told['category']} · {caption}" if caption else told["category"]
    return Shot(cutout_picture(pool.instance(row).rgba), label, told | dict(more or {}), "kept")


def _of_pool(given: Given) -> Iterator[Gallery]:
    """By score, where there are scores, and drawn by key."""
    pool = given.pool
    if pool is None or not len(pool):
        return
    name = given.rule.score if given.rule else "clip_logit"
    scores = scores_of(pool, name)
    ranked = np.lexsort((np.arange(len(pool)), -np.nan_to_num(scores, nan=-np.inf)))
    scored = ranked[np.isfinite(scores[ranked])]
    if len(scored):
        shots = [instance_shot(pool, int(row), f"{scores[row]:.1f}") for row in scored[:_BEST]]
        yield Gallery(f"Best by {name}", tuple(shots))
    drawn = rng_for(0, "report", "instances").choice(len(pool), min(_ANY, len(pool)), replace=False)
    shots = [instance_shot(pool, int(row), _number(scores[row])) for row in np.sort(drawn)]
    yield Gallery("Any of the pool", tuple(shots), "Drawn by key from the whole pool.")


def _at_bar(given: Given) -> Iterator[Gallery]:
    """The nearest to the bars of their categories, on either side."""
    if given.scores is None or given.pool is None or given.rule is None:
        return
    margins = _margins(given.scores, given.rule)
    sides = {
        "Just above the bar": (np.flatnonzero((given.outcomes == KEPT) & (margins >= 0)), margins),
        "Just below the bar": (np.flatnonzero(given.outcomes == "low_clip_logit"), -margins),
    }
    for title, (rows, distance) in sides.items():
        nearest = rows[np.lexsort((rows, distance[rows]))][:_AT_BAR]
        captions = {int(row): f"{margins[row]:+.2f}" for row in nearest}
        shots = _made_shots(
            given, captions, {row: {"above the bar": float(margins[row])} for row in captions}
        )
        if shots:
            yield Gallery(title, tuple(shots), "With the distance to the bar of the category.")


def _margins(scores: pa.Table, rule: SelectSettings) -> np.ndarray:
    """(N,) score - bar of the category, -inf without a score."""
    columns = columns_from(scores, scores.schema.names, rule.score)
    margins = np.full(len(columns.score), -np.inf, np.float32)
    bar = bars(columns, rule)[columns.category]
    np.subtract(columns.score, bar, out=margins, where=columns.usable)
    return margins


def _rejected(given: Given) -> Iterator[Gallery]:
    """Some of every reason, the most frequent first, drawn by key."""
    if given.scores is None:
        return
    reasons, counts = np.unique(given.outcomes, return_counts=True)
    ordered = sorted(zip(counts.tolist(), reasons.tolist(), strict=True), key=lambda one: (-one[0], one[1]))
    for count, reason in [one for one in ordered if one[1] not in (KEPT, "")][:_REASONS]:
        rows = np.flatnonzero(given.outcomes == reason)
        drawn = rng_for(0, "report", "rejected", reason).choice(rows, min(_OF_REASON, count), replace=False)
        shots = _made_shots(given, dict.fromkeys(np.sort(drawn).tolist(), ""), {})
        if shots:
            yield Gallery(f"Rejected: {reason}", tuple(shots), f"{len(shots)} of {count:,}, drawn by key.")


def _made_shots(
    given: Given, captions: Mapping[int, str], more: Mapping[int, Mapping[str, Any]]
) -> Sequence[Shot]:
    """Images of rows of the score table, their masks outlined."""
    shots = []
    found = made_pictures(given, captions)
    for row in filter(found.__contains__, captions):
        picture, told = found[row]
        outcome = given.outcomes[row]
        label = " · ".join(filter(None, (told["category"], captions[row])))
        known = {name: one for name, one in told.items() if one is not None}
        tone: Tone = "kept" if outcome == KEPT else "rejected"
        shots.append(Shot(picture, label, known | {"outcome": outcome} | dict(more.get(row, {})), tone))
    return shots


def _number(score: float) -> str:
    return f"{score:.1f}" if np.isfinite(score) else ""
