"""The steps of a run, their recipes and their fingerprints.

Each step's fingerprint covers its own recipe and the fingerprint of the step before: what is the
same need not be made again, what differs can be named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpaste_ray.backgrounds import Backgrounds, resolve_source
from xpaste_ray.categories import Category, did_you_mean, lvis_categories, pick_categories
from xpaste_ray.compose.size_table import size_table_id
from xpaste_ray.config import ComposeSettings, DatasetSettings, PoolSettings
from xpaste_ray.embedded import DIFFUSION_CATEGORIES
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint, hash_folder
from xpaste_ray.models.folders import DIFFUSERS_FILE, OPEN_CLIP_FILE, model_folder
from xpaste_ray.pipelines.backgrounds import index_backgrounds
from xpaste_ray.pipelines.resources import cpus_booked

# Raised when the code of a step changes what it writes for the same settings.
_ALGORITHMS = {"source": 1, "segment": 1, "score": 1, "select": 3, "compose": 3}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a pool is made from, resolved and checked."""

    settings: PoolSettings
    categories: tuple[Category, ...]
    source_model: str  # its name and the hash of its files, "embedded:diffusion@1f0c..."
    score_model: str


@dataclass(frozen=True, slots=True)
class Step:
    settings: dict[str, Any]
    fingerprint: str


def resolve_inputs(settings: PoolSettings) -> Inputs:
    """Find and check the models and categories. Raises ConfigError."""
    source = model_folder(settings.source.model, "source.model", DIFFUSERS_FILE)
    score = model_folder(settings.score.model, "score.model", OPEN_CLIP_FILE)
    embedded = settings.source.model == "embedded:diffusion"
    names: Sequence[str]
    if settings.categories.names == "all":
        names = DIFFUSION_CATEGORIES if embedded else [category.name for category in lvis_categories()]
    else:
        names = settings.categories.names
    categories = pick_categories(lvis_categories(), names)
    if embedded:
        _check_embedded(categories)
    return Inputs(
        settings,
        categories,
        _named(settings.source.model, source),
        _named(settings.score.model, score),
    )


def open_backgrounds(settings: DatasetSettings) -> Backgrounds:
    """The backgrounds that the settings name, indexed if they are not yet. Raises ConfigError."""
    compose, resources = settings.compose, settings.resources
    backgrounds = index_backgrounds(
        resolve_source(compose.backgrounds, compose.background_images, compose.background_column),
        workers=resources.compose.actors,
        ray_cpus=cpus_booked(resources),
    )
    return backgrounds.without_categories(compose.exclude_categories)


def _check_embedded(categories: Sequence[Category]) -> None:
    for category in categories:
        if category.name not in DIFFUSION_CATEGORIES:
            raise ConfigError(
                f"categories.names: the embedded miniature model cannot draw {category.name!r}"
                f"{did_you_mean(category.name, DIFFUSION_CATEGORIES)} "
                f"It knows {len(DIFFUSION_CATEGORIES)} categories: {', '.join(DIFFUSION_CATEGORIES)}"
            )


def _named(model: str, folder: Path) -> str:
    """What a model is, wherever it lies: recipes and results hold no absolute path."""
    name = model if model.startswith("embedded:") else folder.resolve().name
    return f"{name}@{hash_folder(folder)[:12]}"


def source_recipe(inputs: Inputs) -> str:
    """The fingerprint of how one image is made; it enters every candidate id."""
    return fingerprint(_image_recipe(inputs))[:8]


def units_recipe(inputs: Inputs) -> str:
    """The fingerprint of the work list."""
    names = [f"{category.id} {category.name}" for category in inputs.categories]
    prompts = inputs.settings.prompts.model_dump(mode="json")
    return fingerprint({"source": source_recipe(inputs), "categories": names, "prompts": prompts})


def _image_recipe(inputs: Inputs) -> dict[str, Any]:
    settings = inputs.settings
    return {
        "algorithm": _ALGORITHMS["source"],
        "seed": settings.seed,
        "prompts": {"template": settings.prompts.template},
        "source": {**settings.source.model_dump(mode="json"), "model": inputs.source_model},
    }


def plan_steps(inputs: Inputs, compose: dict[str, Any] | None = None) -> dict[str, Step]:
    """The steps of a run, in order. Recipes are keyed as the settings are, for messages. `compose`: the
    recipe of its dataset, see `compose_recipe`."""
    settings = inputs.settings
    names = [f"{category.id} {category.name}" for category in inputs.categories]
    recipes: dict[str, dict[str, Any]] = {
        "source": {**_image_recipe(inputs), "categories": {"names": names}},
        "segment": {"segment": settings.segment.model_dump(mode="json")},
        "score": {"score": {**settings.score.model_dump(mode="json"), "model": inputs.score_model}},
        "select": {
            "select": settings.select.model_dump(mode="json"),
            "prompts": {"per_category": settings.prompts.per_category},
        },
    }
    if compose:
        recipes["compose"] = compose
    steps: dict[str, Step] = {}
    parent = ""
    for name, recipe in recipes.items():
        recipe["algorithm"] = _ALGORITHMS[name]
        parent = fingerprint({"parent": parent, **recipe})
        steps[name] = Step(recipe, parent)
    return steps


def compose_recipe(settings: ComposeSettings, backgrounds: Backgrounds, seed: int) -> dict[str, Any]:
    """Everything but the pool that can change a byte of a composed dataset. Files are known by what is in
    them, not by where they lie."""
    named_otherwise = {"exclude_categories", "background_images", "background_column"}  # by the fingerprint
    dumped = settings.model_dump(mode="json", exclude=named_otherwise)
    dumped["backgrounds"] = backgrounds.fingerprint
    dumped["size"]["table"] = size_table_id(settings.size.table)
    return {"algorithm": _ALGORITHMS["compose"], "compose": dumped, "seed": seed}
