"""Opening the sources that the settings name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpaste_ray.categories import Category, did_you_mean
from xpaste_ray.config import AnySource, DiffusionSource, PoolSettings, SearchSource, WebSource
from xpaste_ray.embedded import DIFFUSION_CATEGORIES
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.models.folders import DIFFUSERS_FILE, model_folder, model_name
from xpaste_ray.prompts import Texts
from xpaste_ray.runs import RunDir
from xpaste_ray.sources.base import Source
from xpaste_ray.sources.diffusion import GeneratedImages
from xpaste_ray.sources.engines import open_engine
from xpaste_ray.sources.search import Searches
from xpaste_ray.sources.url_list import ListedUrls, Unsearched, read_url_list
from xpaste_ray.sources.work_list import serving
from xpaste_ray.storage import locate

if TYPE_CHECKING:
    from xpaste_ray.pipelines.job import Progress

_ALGORITHM = 2  # raised when a source gives other images for the same settings


def open_sources(
    settings: PoolSettings,
    categories: Sequence[Category],
    run: RunDir | None = None,
    progress: "Progress | None" = None,
    may_search: bool = True,
) -> dict[str, Source]:
    """By name, in the settings' order; the last three: see `resolve_inputs`. ConfigError if one cannot be
    what the settings say."""
    texts, searching = Texts(settings.prompts), _Searching(run, progress, may_search)
    return {
        name: _open(name, source, settings, texts, categories, searching)
        for name, source in settings.sources.items()
    }


@dataclass(frozen=True, slots=True)
class _Searching:
    """Where searches are kept, who hears of them, and whether there may be new ones."""

    run: RunDir | None
    progress: "Progress | None"
    allowed: bool

    def say(self, lines: Sequence[str]) -> None:
        for line in lines if self.progress else ():
            self.progress.say(line)


def _open(
    name: str,
    source: AnySource,
    settings: PoolSettings,
    texts: Texts,
    categories: Sequence[Category],
    searching: _Searching,
) -> Source:
    told = {"algorithm": _ALGORITHM, **source.model_dump(mode="json", exclude={"weight", "frequencies"})}
    match source:
        case DiffusionSource():
            return _open_diffusion(name, source, settings, texts, categories, told)
        case WebSource():
            return _open_list(name, source, categories, told, searching)
        case SearchSource():
            return _open_search(name, source, settings, categories, told, searching)
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


def _open_list(
    name: str,
    source: WebSource,
    categories: Sequence[Category],
    told: Mapping[str, Any],
    searching: _Searching,
) -> Source:
    served = _served(source, categories)
    urls, content_hash = read_url_list(locate(source.list), f"sources.{name}.list", served)
    searching.say(urls.notes(name, served))
    recipe = {key: value for key, value in told.items() if key not in source.patience}
    return ListedUrls(name, source.unit_size, urls, {**recipe, "list": content_hash})


def _open_search(
    name: str,
    source: SearchSource,
    settings: PoolSettings,
    categories: Sequence[Category],
    told: Mapping[str, Any],
    searching: _Searching,
) -> Source:
    """Its recipe has no list: that grows when more images are asked for, and a URL keeps its place."""
    served = _served(source, categories)
    recipe = {key: value for key, value in told.items() if key not in source.patience}
    wanted = {category: _turns_at_most(name, category, settings) for category in served}
    run, progress = searching.run, searching.progress
    if run is None:
        raise ConfigError(
            f"sources.{name}: only `xpaste pool build` searches: use it, or give what `xpaste search` wrote "
            "to a source of kind web"
        )
    what = {key: recipe[key] for key in ("algorithm", "engine", "address", "licences")}
    searches = Searches(run.searches / f"{name}.parquet", fingerprint(what))
    missing = searches.missing(wanted)
    if missing and not searching.allowed:
        searching.say([f"sources.{name}: {len(missing)} categories are not searched yet"])
        return Unsearched(name, source.unit_size, recipe)
    if missing:
        engine = open_engine(source.engine, source.address, source.licences, source.contact)
        stage = f"search {name}"
        if progress:
            progress.begin({stage: len(wanted)}, "categories")
        searches.search(engine, wanted, lambda done: progress and progress.advance(stage, done))
    urls = searches.urls(served)
    searching.say(urls.notes(name, served))
    return ListedUrls(name, source.unit_size, urls, recipe)


def _served(source: AnySource, categories: Sequence[Category]) -> list[Category]:
    frequencies = source.frequencies
    return [one for one in categories if frequencies is None or one.frequency in frequencies]


def _turns_at_most(name: str, category: Category, settings: PoolSettings) -> int:
    """How many images of a category a source may be asked for."""
    weights = serving(category, settings.sources)
    return math.ceil(settings.prompts.per_category * weights[name] / sum(weights.values())) + 1
