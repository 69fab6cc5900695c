"""The steps of a run, their recipes and their fingerprints.

Each step's fingerprint covers its own recipe and the fingerprint of the step before: what is the
same need not be made again, what differs can be named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from xpaste_ray.backgrounds import AnyBackgrounds, resolve_source, with_contexts
from xpaste_ray.categories import Category
from xpaste_ray.config import DatasetSettings, PoolSettings, ScoreSettings, SegmentSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.models.clip_config import embedding_dim
from xpaste_ray.models.folders import OPEN_CLIP_FILE, model_folder, model_name
from xpaste_ray.models.heads import head_folders, open_heads
from xpaste_ray.models.networks import named_by, network_name
from xpaste_ray.models.real_crops import open_real_crops, settled
from xpaste_ray.pipelines.backgrounds import index_backgrounds
from xpaste_ray.pipelines.opening import chosen_categories, open_sources
from xpaste_ray.pipelines.resources import cpus_booked
from xpaste_ray.runs import RunDir
from xpaste_ray.sources.base import Source

if TYPE_CHECKING:
    from xpaste_ray.pipelines.job import Progress

# Raised when the code of a step changes what it writes for the same settings.
_ALGORITHMS = {"segment": 3, "score": 3, "select": 6}


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a pool is made from, resolved and checked.

    sources: by name, in the settings' order. score: those of the settings, with a run's real crops as they
    are now: every actor must compare with the same, whenever it starts. score_model: its name and the hash of
    its files, "embedded:clip@1f0c...". segment_models: those of the methods that have one, by the method's
    name. score_files: what else the score settings name by path, told likewise.
    embedding_dim: numbers in an embedding of that model.
    """

    settings: PoolSettings
    categories: tuple[Category, ...]
    sources: Mapping[str, Source]
    score: ScoreSettings
    score_model: str
    segment_models: Mapping[str, str]
    score_files: Mapping[str, Any]
    embedding_dim: int


@dataclass(frozen=True, slots=True)
class Step:
    settings: dict[str, Any]
    fingerprint: str


def resolve_inputs(
    settings: PoolSettings,
    run: RunDir | None = None,
    progress: "Progress | None" = None,
    may_search: bool = True,
) -> Inputs:
    """Find and check the models, sources and categories. Raises ConfigError.

    run: for sources that search, which keep there what they find. With `may_search` off they do not search,
    and are taken to find enough.
    """
    score = model_folder(settings.score.model, "score.model", OPEN_CLIP_FILE)
    dim = embedding_dim(score, "score.model")
    categories = chosen_categories(settings)
    scoring = _settled(settings.score)
    return Inputs(
        settings,
        categories,
        open_sources(settings, categories, run, progress, may_search),
        scoring,
        model_name(settings.score.model, score),
        segment_models(settings.segment, "segment"),
        _score_files(scoring, categories, dim),
        dim,
    )


def segment_models(settings: SegmentSettings, option: str) -> dict[str, str]:
    """Which files each method computes with, by its name. option: where the settings stand. ConfigError if
    they are not there."""
    told = {
        name: network_name(one, f"{option}.methods.{name}.{named_by(one)}")
        for name, one in settings.methods.items()
    }
    return {name: network for name, network in told.items() if network}


def segment_recipe(settings: SegmentSettings, networks: Mapping[str, str]) -> dict[str, Any]:
    """Methods by name, in the order in which they run; limits where there are any. networks: see
    `segment_models`."""
    dumped = settings.model_dump(mode="json")["methods"]
    named = {name: {named_by(settings.methods[name]): told} for name, told in networks.items()}
    limits = settings.limits.model_dump(mode="json", exclude_none=True)
    recipe = {
        "methods": {name: {**dumped[name], **named.get(name, {})} for name in sorted(dumped)},
        **({"limits": limits} if limits else {}),
    }
    return {"algorithm": _ALGORITHMS["segment"], "segment": recipe}


def _settled(settings: ScoreSettings) -> ScoreSettings:
    return settings.model_copy(update={"real": settings.real and settled(settings.real)})


def _score_files(settings: ScoreSettings, categories: Sequence[Category], dim: int) -> dict[str, Any]:
    """Heads and real crops by what is in them. ConfigError if they do not fit the model or the categories."""
    open_heads(settings, dim)
    told: dict[str, Any] = {
        name: model_name(getattr(settings, name), folder) for name, folder in head_folders(settings).items()
    }
    if settings.real:
        crops, names = open_real_crops(settings.real), [category.name for category in categories]
        if not any(crops.of(name) for name in names):
            raise ConfigError(
                f"score.real.crops: {settings.real.crops} has no images of any of the categories: name its "
                f"folders as they are, such as {names[0]!r}"
            )
        told["real"] = {**settings.real.model_dump(mode="json"), "crops": crops.content(names)}
    return told


def open_backgrounds(settings: DatasetSettings) -> AnyBackgrounds:
    """The backgrounds that the settings name, their contexts among them, indexed if they are not yet. Raises
    ConfigError."""
    compose, resources = settings.compose, settings.resources
    indexed = partial(index_backgrounds, workers=resources.compose.actors, ray_cpus=cpus_booked(resources))
    source = resolve_source(compose.backgrounds, compose.background_images, compose.background_column)
    originals = indexed(source).without_categories(compose.exclude_categories)
    return with_contexts(originals, compose.contexts, indexed)


def units_recipe(inputs: Inputs) -> str:
    """The fingerprint of the work list."""
    return fingerprint(
        {
            "sources": _source_recipes(inputs),
            "categories": _category_lines(inputs),
            "per_category": inputs.settings.prompts.per_category,
        }
    )


def _source_recipes(inputs: Inputs) -> dict[str, Any]:
    """What each source gives, and which of the images it is asked for."""
    asked = inputs.settings.sources
    return {
        name: {
            **source.recipe,
            "weight": asked[name].weight,
            "frequencies": list(asked[name].frequencies or ()),
        }
        for name, source in inputs.sources.items()
    }


def _category_lines(inputs: Inputs) -> list[str]:
    """What prompts follow from; a synonym, a definition or a frequency only where it is used."""
    settings = inputs.settings.prompts
    by_frequency = any(source.frequencies for source in inputs.settings.sources.values())
    lines = []
    for category in inputs.categories:
        parts = [str(category.id), category.name]
        parts += category.synonyms if settings.synonyms else ()
        parts += [category.definition] if settings.definitions else ()
        parts += [category.frequency or ""] if by_frequency else ()
        lines.append(" | ".join(parts) if len(parts) > 2 else " ".join(parts))
    return lines


def plan_steps(inputs: Inputs, compose: dict[str, Any] | None = None) -> dict[str, Step]:
    """The steps of a run, in order. Recipes are keyed as the settings are, for messages. `compose`: the
    recipe of its dataset, see `compose_recipe`."""
    settings = inputs.settings
    recipes: dict[str, dict[str, Any]] = {
        "source": {
            "sources": _source_recipes(inputs),
            "categories": {"names": _category_lines(inputs)},
        },
        "segment": segment_recipe(settings.segment, inputs.segment_models),
        "score": {
            "algorithm": _ALGORITHMS["score"],
            "score": {
                **settings.score.model_dump(mode="json"),
                "model": inputs.score_model,
                **inputs.score_files,
            },
        },
        "select": _select_recipe(settings),
    }
    if compose:
        recipes["compose"] = compose
    return chain(recipes)


def chain(recipes: Mapping[str, dict[str, Any]]) -> dict[str, Step]:
    """Steps in order, each with the fingerprint of all before it in its own."""
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
