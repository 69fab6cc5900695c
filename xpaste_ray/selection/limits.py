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

    What was asked for and did not judge a row leaves it `no_score`. But where nothing of a category has a
    similarity to real crops, there are none of it, and no such limit.
    """
    if rule.proposals == "one-per-image":
        yield "not_best_proposal", ~is_best(columns)
    bar_of = bars(columns, rule)
    bar = bar_of[columns.category]
    yield "low_clip_logit", columns.score <= bar if rule.rule == "threshold" else columns.score < bar
    areas = numbers(scores, "area_fraction")
    yield "area_too_small", ~(areas >= rule.min_area_fraction)
    yield "area_too_large", ~(areas <= rule.max_area_fraction)
    if rule.min_real_similarity is not None:
        similarity = numbers(scores, "real_similarity")
        has_crops = np.zeros(len(bar_of), bool)
        has_crops[columns.category[np.isfinite(similarity)]] = True
        yield "no_score", ~np.isfinite(similarity) & has_crops[columns.category]
        yield "low_real_similarity", similarity < rule.min_real_similarity
    if rule.max_nsfw is not None:
        nsfw = numbers(scores, "nsfw")
        yield "no_score", ~np.isfinite(nsfw)
        yield "nsfw", nsfw > rule.max_nsfw
    if rule.min_aesthetic is not None:
        aesthetic = numbers(scores, "aesthetic")
        yield "no_score", ~np.isfinite(aesthetic)
        yield "low_aesthetic", aesthetic < rule.min_aesthetic


def is_best(columns: Columns) -> np.ndarray:
    """(N,) bool: the row with its candidate's highest score. Ties go to the first method by name, then to the
    lower ordinal. Every candidate has one, a failed one too."""
    best: np.ndarray = columns.score == _extreme(np.maximum, -np.inf, columns.candidate, columns.score)
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
