"""From categories and sources to units: the work list of a run."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from xpaste_ray.categories import Category
from xpaste_ray.config import AnySource
from xpaste_ray.errors import ConfigError
from xpaste_ray.records import Prompt, Unit
from xpaste_ray.sources.base import Source


def plan_units(
    categories: Sequence[Category],
    sources: Mapping[str, Source],
    settings: Mapping[str, AnySource],
    per_category: int,
) -> Iterator[Unit]:
    """The work list, index-major: image 0 of every category, then the next round.

    A unit holds prompts of one source and never crosses a round, so asking for more images a category later
    only adds units. A source that has no more images of a category leaves its turns out.
    """
    turns = _turns_by_category(categories, settings)
    for index in range(per_category):
        by_source: dict[str, list[Prompt]] = {name: [] for name in settings}
        for category in categories:
            name, number = turns[category.id].at(index)
            prompt = sources[name].prompt(category, index, number)
            if prompt is not None:
                by_source[name].append(prompt)
        unit = 0
        for name, prompts in by_source.items():
            size = sources[name].unit_size
            for start in range(0, len(prompts), size):
                yield Unit(index, unit, tuple(prompts[start : start + size]))
                unit += 1


def _turns_by_category(
    categories: Sequence[Category], settings: Mapping[str, AnySource]
) -> dict[int, "_Turns"]:
    """By category id. Categories that the same sources serve have the same turns."""
    known: dict[tuple[str, ...], _Turns] = {}
    turns = {}
    for category in categories:
        weights = serving(category, settings)
        turns[category.id] = known.setdefault(tuple(weights), _Turns(weights))
    return turns


def serving(category: Category, settings: Mapping[str, AnySource]) -> dict[str, float]:
    """The weights of the sources that serve a category, by name. ConfigError if there is none."""
    if category.frequency is None and any(one.frequencies for one in settings.values()):
        raise ConfigError(
            f"sources.*.frequencies: nobody knows how frequent {category.name!r} is: give its vocabulary "
            "frequency (r, c or f) or image_count, as LVIS has them, or annotations to count"
        )
    weights = {
        name: one.weight
        for name, one in settings.items()
        if one.frequencies is None or category.frequency in one.frequencies
    }
    if not weights:
        raise ConfigError(
            f"sources: none of them serves {category.name!r}, whose frequency is {category.frequency}: add "
            f"{category.frequency} to the frequencies of one, or leave the category out"
        )
    return weights


class _Turns:
    """Sources in turn by their weights: after any number of turns, each has had its share within one.

    That is the quota method of Balinski and Young (1975), which apportions seats so: of the sources that
    a further turn does not bring above their share rounded up, the one whose turns are worth most.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        # As written: 0.1 is a tenth, and shares are compared exactly.
        self._weights = {name: Fraction(str(weight)) for name, weight in weights.items()}
        self._total = sum(self._weights.values())
        self._taken = dict.fromkeys(weights, 0)
        self._turns: list[tuple[str, int]] = []

    def at(self, index: int) -> tuple[str, int]:
        """Whose turn it is, and which of its own. Of equals the first in the settings."""
        while len(self._turns) <= index:
            self._turns.append(self._next())
        return self._turns[index]

    def _next(self) -> tuple[str, int]:
        turns = len(self._turns) + 1
        eligible = [
            name for name, weight in self._weights.items() if self._taken[name] * self._total < weight * turns
        ]
        name = min(eligible, key=lambda name: (self._taken[name] + 1) / self._weights[name])
        self._taken[name] += 1
        return name, self._taken[name] - 1
