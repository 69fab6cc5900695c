"""Opening the sources that the settings name."""

from collections.abc import Mapping, Sequence
from typing import Any

from xpaste_ray.categories import Category, did_you_mean
from xpaste_ray.config import AnySource, DiffusionSource, PoolSettings
from xpaste_ray.embedded import DIFFUSION_CATEGORIES
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.folders import DIFFUSERS_FILE, model_folder, model_name
from xpaste_ray.prompts import Texts
from xpaste_ray.sources.base import Source
from xpaste_ray.sources.diffusion import GeneratedImages

_ALGORITHM = 2  # raised when a source gives other images for the same settings


def open_sources(settings: PoolSettings, categories: Sequence[Category]) -> dict[str, Source]:
    """By name, in the settings' order. ConfigError if one cannot be what the settings say."""
    texts = Texts(settings.prompts)
    return {
        name: _open(name, source, settings, texts, categories) for name, source in settings.sources.items()
    }


def _open(
    name: str, source: AnySource, settings: PoolSettings, texts: Texts, categories: Sequence[Category]
) -> Source:
    told = {"algorithm": _ALGORITHM, **source.model_dump(mode="json", exclude={"weight", "frequencies"})}
    match source:
        case DiffusionSource():
            return _open_diffusion(name, source, settings, texts, categories, told)
    raise ConfigError(f"sources.{name}: {source.kind} is not there yet")


def _open_diffusion(
    name: str,
    source: DiffusionSource,
    settings: PoolSettings,
    texts: Texts,
    categories: Sequence[Category],
    told: Mapping[str, Any],
) -> Source:
    folder = model_folder(source.model, f"sources.{name}.model", DIFFUSERS_FILE)
    if source.model == "embedded:diffusion":
        _check_embedded(name, source, categories)
    recipe = {**told, "model": model_name(source.model, folder)}
    return GeneratedImages(name, source.unit_size, texts, settings.seed, recipe)


def _check_embedded(name: str, source: DiffusionSource, categories: Sequence[Category]) -> None:
    for category in categories:
        served = source.frequencies is None or category.frequency in source.frequencies
        if served and category.name not in DIFFUSION_CATEGORIES:
            raise ConfigError(
                f"sources.{name}: the embedded miniature model cannot draw {category.name!r}"
                f"{did_you_mean(category.name, DIFFUSION_CATEGORIES)} "
                f"It knows {len(DIFFUSION_CATEGORIES)} categories: {', '.join(DIFFUSION_CATEGORIES)}"
            )
