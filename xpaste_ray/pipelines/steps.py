"""The steps of a run, their recipes and their fingerprints.

Each step's fingerprint covers its own recipe and the fingerprint of the step before: what is the
same need not be made again, what differs can be named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xpaste_ray.backgrounds import Backgrounds, resolve_source
from xpaste_ray.categories import Category, load_vocabulary, pick_categories
from xpaste_ray.compose.size_table import size_table_id
from xpaste_ray.config import (
    CategorySettings,
    ComposeSettings,
    DatasetSettings,
    DiffusionSource,
    PoolSettings,
)
from xpaste_ray.embedded import DIFFUSION_CATEGORIES
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.models.folders import OPEN_CLIP_FILE, model_folder, model_name
from xpaste_ray.pipelines.backgrounds import index_backgrounds
from xpaste_ray.pipelines.opening import open_sources
from xpaste_ray.pipelines.resources import cpus_booked
from xpaste_ray.sources.base import Source

# Raised when the code of a step changes what it writes for the same settings.
_ALGORITHMS = {"segment": 2, "score": 2, "select": 5, "compose": 3}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a pool is made from, resolved and checked.

    sources: by name, in the settings' order. score_model: its name and the hash of its files,
    "embedded:clip@1f0c...".
    """

    settings: PoolSettings
    categories: tuple[Category, ...]
    sources: Mapping[str, Source]
    score_model: str


@dataclass(frozen=True, slots=True)
class Step:
    settings: dict[str, Any]
    fingerprint: str


def resolve_inputs(settings: PoolSettings) -> Inputs:
    """Find and check the models, sources and categories. Raises ConfigError."""
    score = model_folder(settings.score.model, "score.model", OPEN_CLIP_FILE)
    categories = _categories(settings)
    return Inputs(
        settings, categories, open_sources(settings, categories), model_name(settings.score.model, score)
    )


def _categories(settings: PoolSettings) -> tuple[Category, ...]:
    """`all` is what the embedded generator can draw, where that is one of the sources."""
    told: CategorySettings = settings.categories
    vocabulary = load_vocabulary(told.vocabulary)
    names: Sequence[str]
    if told.names != "all":
        names = told.names
    elif told.vocabulary == "lvis" and any(
        isinstance(one, DiffusionSource) and one.model == "embedded:diffusion"
        for one in settings.sources.values()
    ):
        names = DIFFUSION_CATEGORIES
    else:
        names = [category.name for category in vocabulary]
    return pick_categories(vocabulary, names)


def open_backgrounds(settings: DatasetSettings) -> Backgrounds:
    """The backgrounds that the settings name, indexed if they are not yet. Raises ConfigError."""
    compose, resources = settings.compose, settings.resources
    backgrounds = index_backgrounds(
        resolve_source(compose.backgrounds, compose.background_images, compose.background_column),
        workers=resources.compose.actors,
        ray_cpus=cpus_booked(resources),
    )
    return backgrounds.without_categories(compose.exclude_categories)


def units_recipe(inputs: Inputs) -> str:
    """The fingerprint of the work list."""
    settings = inputs.settings
    shares = {name: [one.weight, one.frequencies] for name, one in settings.sources.items()}
    return fingerprint(
        {
            "sources": _source_recipes(inputs),
            "shares": shares,
            "categories": _category_lines(inputs),
            "per_category": settings.prompts.per_category,
        }
    )


def _source_recipes(inputs: Inputs) -> dict[str, Any]:
    return {name: dict(source.recipe) for name, source in inputs.sources.items()}


def _category_lines(inputs: Inputs) -> list[str]:
    """What prompts follow from; a synonym or a definition only where it is used."""
    settings = inputs.settings.prompts
    lines = []
    for category in inputs.categories:
        parts = [str(category.id), category.name]
        parts += category.synonyms if settings.synonyms else ()
        parts += [category.definition] if settings.definitions else ()
        lines.append(" | ".join(parts) if len(parts) > 2 else " ".join(parts))
    return lines


def plan_steps(inputs: Inputs, compose: dict[str, Any] | None = None) -> dict[str, Step]:
    """The steps of a run, in order. Recipes are keyed as the settings are, for messages. `compose`: the
    recipe of its dataset, see `compose_recipe`."""
    settings = inputs.settings
    shares = {
        name: {"weight": one.weight, "frequencies": list(one.frequencies or ())}
        for name, one in settings.sources.items()
    }
    recipes: dict[str, dict[str, Any]] = {
        "source": {
            "sources": {name: {**recipe, **shares[name]} for name, recipe in _source_recipes(inputs).items()},
            "categories": {"names": _category_lines(inputs)},
        },
        "segment": {"algorithm": _ALGORITHMS["segment"], "segment": settings.segment.model_dump(mode="json")},
        "score": {
            "algorithm": _ALGORITHMS["score"],
            "score": {**settings.score.model_dump(mode="json"), "model": inputs.score_model},
        },
        "select": _select_recipe(settings),
    }
    if compose:
        recipes["compose"] = compose
    steps: dict[str, Step] = {}
    parent = ""
    for name, recipe in recipes.items():
        steps[name] = _step(recipe, parent)
        parent = steps[name].fingerprint
    return steps


def select_step(settings: PoolSettings, score: str) -> Step:
    """As in `plan_steps`, without a look at models and sources. score: the fingerprint of that step."""
    return _step(_select_recipe(settings), score)


def _select_recipe(settings: PoolSettings) -> dict[str, Any]:
    rule = settings.select
    seed = {"seed": settings.seed} if rule.max_per_category and rule.pick == "random" else {}
    return {
        "algorithm": _ALGORITHMS["select"],
        "select": rule.model_dump(mode="json"),
        "cutout": settings.cutout.model_dump(mode="json"),
        "prompts": {"per_category": settings.prompts.per_category},
        **seed,
    }


def _step(recipe: dict[str, Any], parent: str) -> Step:
    return Step(recipe, fingerprint({"parent": parent, **recipe}))


def compose_recipe(settings: ComposeSettings, backgrounds: Backgrounds, seed: int) -> dict[str, Any]:
    """Everything but the pool that can change a byte of a composed dataset. Files are known by what is in
    them, not by where they lie."""
    named_otherwise = {"exclude_categories", "background_images", "background_column"}  # by the fingerprint
    dumped = settings.model_dump(mode="json", exclude=named_otherwise)
    dumped["backgrounds"] = backgrounds.fingerprint
    dumped["size"]["table"] = size_table_id(settings.size.table)
    return {"algorithm": _ALGORITHMS["compose"], "compose": dumped, "seed": seed}
