"""Opening the sources that the settings name."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from xpaste_ray.backgrounds import Backgrounds, resolve_source
from xpaste_ray.categories import Category, did_you_mean, load_vocabulary, pick_categories
from xpaste_ray.config import (
    AnnotatedSource,
    AnySource,
    CandidatesSource,
    CutoutsSource,
    DiffusionSource,
    FolderSource,
    PoolSettings,
    SearchSource,
    WebDatasetSource,
    WebSource,
)
from xpaste_ray.embedded import DIFFUSION_CATEGORIES
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.models.folders import DIFFUSERS_FILE, model_folder, model_name
from xpaste_ray.models.hub import PREFIX, parse_hub
from xpaste_ray.pipelines.backgrounds import index_backgrounds
from xpaste_ray.pipelines.resources import cpus_booked
from xpaste_ray.prompts import Texts
from xpaste_ray.runs import RunDir
from xpaste_ray.sources.annotated import Objects
from xpaste_ray.sources.base import Source
from xpaste_ray.sources.candidates import Candidates
from xpaste_ray.sources.diffusion import GeneratedImages
from xpaste_ray.sources.engines import open_engine
from xpaste_ray.sources.folder import CUTOUTS, Folder
from xpaste_ray.sources.found import FoundImages, some_of
from xpaste_ray.sources.search import Searches
from xpaste_ray.sources.url_list import ListedUrls, Unsearched, read_url_list
from xpaste_ray.sources.voc import is_voc, open_voc
from xpaste_ray.sources.webdataset import Tars
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
    to_show: bool = False,
) -> dict[str, Source]:
    """By name, in the settings' order. run, progress, may_search: see `resolve_inputs`. to_show: only for
    their prompts, so nothing is searched, and models of the Hub need not be here. ConfigError if one cannot
    be what the settings say."""
    texts = Texts(settings.prompts)  # once for all sources: it may read a file
    opening = _Opening(settings, categories, texts, run, progress, may_search, to_show)
    return {name: _open(name, source, opening) for name, source in settings.sources.items()}


def chosen_categories(settings: PoolSettings) -> tuple[Category, ...]:
    """Those that the settings name. `all` is what the embedded generator can draw, where that is one of the
    sources. ConfigError."""
    told = settings.categories
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


def notes_on(settings: PoolSettings, sources: Mapping[str, Source]) -> list[str]:
    """What a person should know of the sources before the work begins, a line each."""
    notes = [note for source in sources.values() for note in source.notes]
    unused = Texts(settings.prompts).unused(load_vocabulary(settings.categories.vocabulary))
    if unused:
        notes.append(f"prompts.file: not in the vocabulary, so left out: {some_of(unused)}")
    return notes


@dataclass(frozen=True, slots=True)
class _Opening:
    """What sources are opened for and with: see `open_sources`."""

    settings: PoolSettings
    categories: Sequence[Category]
    texts: Texts
    run: RunDir | None
    progress: "Progress | None"
    may_search: bool
    to_show: bool

    def served(self, name: str) -> list[Category]:
        """The categories that a source may be asked for."""
        sources = self.settings.sources
        return [category for category in self.categories if name in serving(category, sources)]

    def turns_at_most(self, name: str, category: Category) -> int:
        """How many images of a category a source may be asked for."""
        weights = serving(category, self.settings.sources)
        return math.ceil(self.settings.prompts.per_category * weights[name] / sum(weights.values())) + 1


def _open(name: str, source: AnySource, opening: _Opening) -> Source:
    match source:
        case DiffusionSource():
            return _open_diffusion(name, source, opening)
        case WebSource():
            return _open_list(name, source, opening)
        case SearchSource():
            return _open_search(name, source, opening)
        case _:
            return _open_found(name, source, opening)


def _recipe(source: AnySource, without: Collection[str] = ()) -> dict[str, Any]:
    """The options that can change one of its images; how many of them it gives is no matter of one."""
    told = source.model_dump(mode="json", exclude={"weight", "frequencies", *without})
    return {"algorithm": _ALGORITHM, **told}


class _Listed(Protocol):
    """What is known of images that exist already, once their source was listed.

    contents: a fingerprint that is the same wherever the source lies. notes: what was left out.
    """

    listing: pa.Table
    contents: str
    notes: list[str]


_FoundSource = FolderSource | WebDatasetSource | CandidatesSource | CutoutsSource | AnnotatedSource

_PLACES = {"path", "run", "annotations", "images"}  # options that say where a source lies


def _open_found(name: str, source: _FoundSource, opening: _Opening) -> Source:
    settings = opening.settings
    listed, place = _list(name, source, settings)
    return FoundImages(
        name,
        source.unit_size,
        listed.listing,
        place,
        load_vocabulary(settings.categories.vocabulary),
        opening.served(name),
        {**_recipe(source, _PLACES), "contents": listed.contents},
        listed.notes,
    )


def _list(name: str, source: _FoundSource, settings: PoolSettings) -> tuple[_Listed, Any]:
    """What a source has, and where `stages.read` finds it."""
    listed: Folder | Tars | Candidates
    match source:
        case FolderSource():
            listed = Folder(locate(source.path), f"sources.{name}.path")
        case CutoutsSource():
            listed = Folder(locate(source.path), f"sources.{name}.path", CUTOUTS)
        case WebDatasetSource():
            listed = Tars(locate(source.path), f"sources.{name}.path", source.category_key)
        case CandidatesSource():
            listed = Candidates(locate(source.run), f"sources.{name}.run")
        case AnnotatedSource():
            images = _open_annotated(name, source, settings)
            return Objects(images), images
    return listed, listed.root


def _open_annotated(name: str, source: AnnotatedSource, settings: PoolSettings) -> Backgrounds:
    """The index of a dataset's images, made if there is none yet."""
    option, place = f"sources.{name}.annotations", locate(source.annotations)
    resources = settings.resources
    try:
        found = (
            open_voc(place, option) if is_voc(place) else resolve_source(source.annotations, source.images)
        )
        if found.annotation_file() is None:
            raise ConfigError("is neither a COCO or LVIS file nor a VOC folder with SegmentationObject")
        return index_backgrounds(found, workers=resources.fetch.actors, ray_cpus=cpus_booked(resources))
    except ConfigError as error:
        text = str(error).removeprefix(f"{option}: ").removeprefix("backgrounds: ")
        raise ConfigError(f"{option}: {text.replace('--images DIR', f'sources.{name}.images')}") from None


def _open_diffusion(name: str, source: DiffusionSource, opening: _Opening) -> Source:
    option = f"sources.{name}.model"
    if opening.to_show and source.model.startswith(PREFIX):
        model = parse_hub(source.model, option).name
    else:
        model = model_name(source.model, model_folder(source.model, option, DIFFUSERS_FILE))
    if source.model == "embedded:diffusion":
        _check_embedded(name, opening.served(name))
    recipe = {**_recipe(source), "model": model}
    return GeneratedImages(name, source.unit_size, opening.texts, opening.settings.seed, recipe)


def _check_embedded(name: str, served: Sequence[Category]) -> None:
    for category in served:
        if category.name not in DIFFUSION_CATEGORIES:
            raise ConfigError(
                f"sources.{name}: the embedded miniature model cannot draw {category.name!r}"
                f"{did_you_mean(category.name, DIFFUSION_CATEGORIES)} "
                f"It knows {len(DIFFUSION_CATEGORIES)} categories: {', '.join(DIFFUSION_CATEGORIES)}"
            )


def _open_list(name: str, source: WebSource, opening: _Opening) -> Source:
    served = opening.served(name)
    urls, content_hash = read_url_list(locate(source.list), f"sources.{name}.list", served)
    recipe = {**_recipe(source, source.patience), "list": content_hash}
    return ListedUrls(name, source.unit_size, urls, recipe, served)


def _open_search(name: str, source: SearchSource, opening: _Opening) -> Source:
    """Its recipe has no list: that grows when more images are asked for, and a URL keeps its place."""
    served, recipe = opening.served(name), _recipe(source, source.patience)
    if opening.to_show:
        return Unsearched(name, source.unit_size, recipe, len(served))
    wanted = {category: opening.turns_at_most(name, category) for category in served}
    run, progress = opening.run, opening.progress
    if run is None:
        raise ConfigError(
            f"sources.{name}: only `xpaste pool build` searches: use it, or give what `xpaste search` wrote "
            "to a source of kind web"
        )
    what = {key: recipe[key] for key in ("algorithm", "engine", "address", "licences")}
    searches = Searches(run.searches / f"{name}.parquet", fingerprint(what))
    missing = searches.missing(wanted)
    if missing and not opening.may_search:
        return Unsearched(name, source.unit_size, recipe, len(missing))
    if missing:
        engine = open_engine(source.engine, source.address, source.licences, source.contact)
        stage = f"search {name}"
        if progress:
            progress.begin({stage: len(wanted)}, "categories")
        searches.search(engine, wanted, lambda done: progress and progress.advance(stage, done))
    return ListedUrls(name, source.unit_size, searches.urls(served), recipe, served)
