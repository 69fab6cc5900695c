"""Limits that a row passes or fails by its own scores, once the bar of its category is known.

A limit and a stored score meet as float32, in which scores are stored: one of 20.9 reaches a bar of 20.9.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from xpaste_ray.config import SelectSettings
from xpaste_ray.selection.columns import Columns, numbers


def failed_limits(
    columns: Columns, scores: pa.Table, rule: SelectSettings
) -> Iterator[tuple[str, np.ndarray]]:
    """The reason and the rows (N,) bool of each limit that the rule has. A row's reason is its first; what is
    said of rows without a usable score does not count.

    A category without real crops has no similarity to them (null), and so no such limit; a head that was
    asked for and did not judge a row leaves it `no_score`.
    """
    if rule.proposals == "one-per-image":
        yield "not_best_proposal", ~is_best(columns)
    bar = bars(columns, rule)[columns.category]
    yield "low_clip_logit", columns.score <= bar if rule.rule == "threshold" else columns.score < bar
    areas = numbers(scores, "area_fraction")
    yield "area_too_small", ~(areas >= rule.min_area_fraction)
    yield "area_too_large", ~(areas <= rule.max_area_fraction)
    if rule.min_real_similarity is not None:
        known = scores["real_similarity"].is_valid().to_numpy()
        yield "low_real_similarity", known & ~(numbers(scores, "real_similarity") >= rule.min_real_similarity)
    if rule.max_nsfw is not None:
        yield from _by_head("nsfw", numbers(scores, "nsfw"), numbers(scores, "nsfw") > rule.max_nsfw)
    if rule.min_aesthetic is not None:
        aesthetic = numbers(scores, "aesthetic")
        yield from _by_head("low_aesthetic", aesthetic, aesthetic < rule.min_aesthetic)


def _by_head(reason: str, values: np.ndarray, failed: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "no_score", ~np.isfinite(values)
    yield reason, failed


def is_best(columns: Columns) -> np.ndarray:
    """(N,) bool: the row with its candidate's highest score. Ties go to the first method by name, then to the
    lower ordinal. Every candidate has one, a failed one too."""
    best = columns.score == _extreme(np.maximum, -np.inf, columns.candidate, columns.score)
    for values in (columns.place, np.arange(len(best))):
        least = _extreme(np.minimum, np.iinfo(np.int64).max, columns.candidate[best], values[best])
        best[best] = values[best] == least
    return best


def bars(columns: Columns, rule: SelectSettings) -> np.ndarray:
    """(categories,) float32: what a score must reach; under the rule `threshold`, what it must exceed.

    A bar is min(min_clip_logit, best of the category - tolerance); a failed candidate has no score, so it
    neither lowers a bar nor, where all have failed, passes one. Source: X-Paste, clean_pool.
    """
    if rule.rule == "threshold":
        return np.full(columns.category.max(initial=-1) + 1, 100 * rule.min_cosine, np.float32)
    lowered: np.ndarray = np.minimum(relaxed_bars(columns, rule), np.float32(rule.min_clip_logit))
    return lowered


def relaxed_bars(columns: Columns, rule: SelectSettings) -> np.ndarray:
    """(categories,) float32: best of the category - tolerance; -inf where nothing has a score."""
    best = np.full(columns.category.max(initial=-1) + 1, -np.inf)
    np.maximum.at(best, columns.category, columns.score)
    relaxed: np.ndarray = (best - rule.tolerance).astype(np.float32)
    return relaxed


def _extreme(ufunc: np.ufunc, start: float, groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of each row's group."""
    of_group = np.full(groups.max(initial=-1) + 1, start, values.dtype)
    ufunc.at(of_group, groups, values)
    found: np.ndarray = of_group[groups]
    return found
