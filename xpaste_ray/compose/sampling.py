"""Who is pasted."""

from collections.abc import Sequence

import numpy as np

from xpaste_ray.categories import did_you_mean
from xpaste_ray.config import CategoryRuleSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.pool import Pool


class InstanceSampler:
    """Draws rows of a pool by the category rule, with replacement.

    Categories without instances are never drawn. Sources: uniform is X-Paste's `random`, balanced its
    `cas_random`, present its `cats_random`. only: names of the categories that are drawn; of all, if empty.
    """

    def __init__(self, pool: Pool, rule: CategoryRuleSettings, draw: str, only: Sequence[str] = ()) -> None:
        """ConfigError if nothing can be drawn."""
        self._rule = rule.rule
        self._rows = _rows_of(pool, only)
        self._groups = _groups(pool, self._rows) if draw == "source-image" else None
        self._group_of_row = np.zeros(len(pool), np.int64)
        for number, rows in enumerate(self._groups or ()):
            self._group_of_row[rows] = number
        self._category_ids = np.array(list(self._rows))
        self._cumulative = np.cumsum(_weights(pool, self._rows, rule))
        if not len(self._cumulative) or self._cumulative[-1] <= 0:
            raise ConfigError(
                f"{pool.folder}: no category can be drawn: the pool is empty or all weights are 0. "
                "Loosen the selection, make more candidates, or change category.weights"
            )

    def draw(self, rng: np.random.Generator, count: int, present: Sequence[int] = ()) -> list[int]:
        """`count` draws. present: category ids of the background, for rule `present`.

        Of a source image all instances are returned, one after another, so there may be more. It is drawn
        uniformly (EM-Paste, Algorithm 2) by rule `uniform`; else it is the one of the drawn instance.
        """
        categories, instances = rng.random((2, count)) if count else np.empty((2, 0))
        if self._groups is not None and self._rule == "uniform":
            groups = (self._groups[int(share * len(self._groups))] for share in instances)
            return [int(member) for group in groups for member in group]
        if self._rule == "present" and (both := [c for c in present if c in self._rows]):
            chosen = np.array(both)[(categories * len(both)).astype(np.int64)]
        else:
            at = np.searchsorted(self._cumulative, categories * self._cumulative[-1], side="right")
            chosen = self._category_ids[np.minimum(at, len(self._category_ids) - 1)]
        rows = [self._nth(int(c), float(u)) for c, u in zip(chosen, instances, strict=True)]
        if self._groups is None:
            return rows
        return [int(member) for row in rows for member in self._groups[self._group_of_row[row]]]

    def draw_of(self, rng: np.random.Generator, category_id: int) -> int | None:
        """A uniform instance of a category; None if the pool has none."""
        return self._nth(category_id, rng.random()) if category_id in self._rows else None

    def _nth(self, category_id: int, share: float) -> int:
        rows = self._rows[category_id]
        return int(rows[int(share * len(rows))])


def _rows_of(pool: Pool, only: Sequence[str]) -> dict[int, np.ndarray]:
    """Instance numbers of the categories that can be drawn, by id. ConfigError for a name without any."""
    if not only:
        return pool.rows_by_category
    ids = {category.name: category.id for category in pool.categories}
    for name in only:
        if ids.get(name) not in pool.rows_by_category:
            with_instances = [known for known in ids if ids[known] in pool.rows_by_category]
            raise ConfigError(
                f"categories: the pool has no instance of {name!r}{did_you_mean(name, with_instances)}"
            )
    wanted = {ids[name] for name in only}
    return {number: rows for number, rows in pool.rows_by_category.items() if number in wanted}


def _groups(pool: Pool, rows: dict[int, np.ndarray]) -> list[np.ndarray]:
    """Instance numbers of every source image, of those categories; images without any are left out."""
    if len(rows) == len(pool.rows_by_category):
        return list(pool.rows_by_source_image)
    usable = np.isin(pool.category_ids, list(rows))
    groups = (group[usable[group]] for group in pool.rows_by_source_image)
    return [group for group in groups if len(group)]


def _weights(pool: Pool, rows: dict[int, np.ndarray], rule: CategoryRuleSettings) -> list[float]:
    """A weight for each of the categories, in their order."""
    if rule.rule == "uniform":
        return [float(len(instances)) for instances in rows.values()]
    if rule.rule in ("balanced", "present"):
        return [1.0] * len(rows)
    known = {category.id: category for category in pool.categories}
    names = {category.name for category in pool.categories}
    if rule.rule == "frequency":
        return [rule.weights.get(known[c].frequency or "", 1.0) for c in rows]
    for name in rule.weights:
        if name not in names:
            raise ConfigError(
                f"category.weights: the pool has no category {name!r}{did_you_mean(name, names)}"
            )
    return [rule.weights.get(known[c].name, 1.0) for c in rows]
