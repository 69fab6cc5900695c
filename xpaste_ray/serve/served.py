"""What a replica serves: one version of a pool and of backgrounds, and the rules that requests compose by."""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from threading import Lock
from typing import Any

from xpaste_ray import __version__
from xpaste_ray.backgrounds import AnyBackgrounds, open_or_index, resolve_source, with_contexts
from xpaste_ray.categories import Category, category_to_coco
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.recipe import compose_recipe
from xpaste_ray.compose.shards import merged_categories
from xpaste_ray.config import ComposeSettings, DatasetSettings, change, load
from xpaste_ray.config.serve import NEVER, ServeSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.pool import open_pool
from xpaste_ray.serve.problems import refused

_COMPOSITORS = 32  # rules that are kept ready; each shares the pool and the backgrounds
_LARGEST_NUMBER = 1e6  # in an option: sizes are products of them


@dataclass(frozen=True, slots=True)
class Versions:
    """What an answer's bytes follow from, beside the request."""

    pool: str
    backgrounds: str
    package: str = __version__


@dataclass(frozen=True, slots=True)
class Rules:
    """What a request composes by. compositor: with seed 0. recipe: a fingerprint of all but seed and pool."""

    settings: ComposeSettings
    compositor: Compositor
    recipe: str


class Served:
    """Everything is opened here, and nothing later: files are mapped, and shared by the replicas of a node.

    ConfigError if something is missing or cannot work together.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self._presets = {_shown(name): _preset(name, settings) for name in settings.presets}
        first = self._presets[self.presets[0]].compose
        source = resolve_source(first.backgrounds, first.background_images, first.background_column)
        backgrounds: AnyBackgrounds = open_or_index(source).without_categories(first.exclude_categories)
        self.backgrounds = with_contexts(backgrounds, first.contexts, open_or_index)
        self.pool = open_pool(settings.pool).in_vocabulary(self.backgrounds.categories)
        self.pool.row_of_id  # noqa: B018 (found now, not by the first request)
        self.categories: tuple[Category, ...] = merged_categories(
            self.pool.categories, self.backgrounds.categories
        )
        self.versions = Versions(self.pool.fingerprint, self.backgrounds.fingerprint)
        self._ready: OrderedDict[str, Rules] = OrderedDict()
        self._lock = Lock()
        for name, preset in self._presets.items():
            self._operators(name, preset)
        self.recipes: dict[str, Rules] = {}
        for name, recipe in settings.recipes.items():
            where = f"recipes.{name}"
            told = _changed(_preset(recipe.preset, settings), recipe.options, where)
            self.recipes[name] = self._operators(where, told)

    @property
    def presets(self) -> list[str]:
        """Their names; of a file without its place."""
        return list(self._presets)

    @cached_property
    def categories_json(self) -> bytes:
        """The list `categories` of a COCO file."""
        told = [category_to_coco(one) | {"supercategory": "none"} for one in self.categories]
        return json.dumps(told, separators=(",", ":")).encode()

    @cached_property
    def name_of(self) -> dict[int, str]:
        """Categories' names by id."""
        return {one.id: one.name for one in self.categories}

    def rules(
        self,
        preset: str | None,
        options: Mapping[str, Any],
        size_hw: tuple[int, int] | None,
        categories: Sequence[str],
    ) -> Rules:
        """Those of a request. options: of `compose`, nested. Problem 422 if they are not allowed, are above a
        ceiling, or cannot work."""
        key = json.dumps([preset, options, size_hw, sorted(set(categories))], sort_keys=True, default=str)
        with self._lock:
            if key in self._ready:
                self._ready.move_to_end(key)
                return self._ready[key]
        rules = self._new_rules(preset, options, size_hw, sorted(set(categories)))
        with self._lock:
            self._ready[key] = rules
            while len(self._ready) > _COMPOSITORS:
                self._ready.popitem(last=False)
        return rules

    def _new_rules(
        self,
        preset: str | None,
        options: Mapping[str, Any],
        size_hw: tuple[int, int] | None,
        categories: Sequence[str],
    ) -> Rules:
        name = preset or self.presets[0]
        if name not in self._presets:
            raise refused("preset", f"must be one of {', '.join(self._presets)}")
        values = dict(_leaves(options))
        for path, value in values.items():
            self._check_option(path, value)
        base = self._presets[name]
        if size_hw:
            fit = values.get("canvas.fit", base.compose.canvas.fit)
            if fit == "keep":
                raise refused("size", "has no effect where options.canvas.fit is keep: set that, too")
            values["canvas.size_hw"] = list(size_hw)
        if categories:
            values["categories"] = list(categories)
        try:
            settings = _changed(base, values, "options").compose
            rules = self._rules(settings)
        except ConfigError as error:
            raise refused(*self._field_and_problem(str(error))) from None
        if above := self._above_a_ceiling(settings):
            raise refused(*above)
        return rules

    def _check_option(self, path: str, value: Any) -> None:
        if path in NEVER or not any(path == one or path.startswith(f"{one}.") for one in self.settings.allow):
            raise refused(f"options.{path}", "is not for requests here: leave it out")
        for number in _numbers(value):
            if not abs(number) <= _LARGEST_NUMBER:
                raise refused(f"options.{path}", f"has a number that is not within {_LARGEST_NUMBER:.0f}")

    def _operators(self, name: str, told: DatasetSettings) -> Rules:
        """Those of a preset or a recipe, which no request needs to find out about. ConfigError."""
        if above := self._above_a_ceiling(told.compose):
            raise ConfigError(f"{name}: {' '.join(above)}: change it, or `limits`")
        return self._rules(told.compose)

    def _above_a_ceiling(self, settings: ComposeSettings) -> tuple[str, str] | None:
        """Which field of a request, and what is wrong."""
        limits = self.settings.limits
        if settings.canvas.fit != "keep" and max(settings.canvas.size_hw) > limits.side_px:
            return "size", f"must not be above {limits.side_px} px"
        if settings.instances[1] > limits.instances:
            return "options.instances", f"must not be above {limits.instances}"
        return None

    def _rules(self, settings: ComposeSettings) -> Rules:
        recipe = fingerprint(compose_recipe(settings, self.backgrounds, 0))
        return Rules(settings, Compositor(self.pool, self.backgrounds, settings, 0), recipe)

    def _field_and_problem(self, text: str) -> tuple[str, str]:
        """From an error's text, without the places of things."""
        for place, name in ((str(self.pool.folder), "the pool"), (self.settings.pool, "the pool")):
            text = text.replace(place, name)
        text = text.replace("compose.", "")
        for field in ("options", "categories"):
            if text.startswith(f"{field}: "):
                return field, text.removeprefix(f"{field}: ")
        return "options", text


def _shown(preset: str) -> str:
    return PurePath(preset).stem if "/" in preset or preset.endswith((".yaml", ".yml")) else preset


def _preset(name: str, settings: ServeSettings) -> DatasetSettings:
    """A preset on the operator's backgrounds, with the operator's options."""
    given = {
        "backgrounds": settings.backgrounds,
        "background_images": settings.background_images,
        "background_column": settings.background_column,
        "contexts": settings.contexts,
    }
    base = load(DatasetSettings, name)
    return _changed(base, {**given, **settings.options}, "options")


def _changed(base: DatasetSettings, options: Mapping[str, Any], where: str) -> DatasetSettings:
    """options: of `compose`, by path."""
    try:
        return change(base, (), {f"compose.{path}": value for path, value in options.items()})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _leaves(options: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested options by path: {"size": {"min_px": 5}} is size.min_px. Weights, by category, are no paths."""
    found: list[tuple[str, Any]] = []
    for name, value in options.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and path != "category.weights":
            found += _leaves(value, f"{path}.")
        else:
            found.append((path, value))
    return found


def _numbers(value: Any) -> list[float]:
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for one in value for number in _numbers(one)]
    return []
