"""What a study's arms are trained on, made once: pools, the labelled images of found masks, and contexts.

pools/<name>/        a run of `xpaste pool build` or `xpaste foregrounds`, or the parts of other pools
pools/<name>.json    of another choice in such a run: which of its pools it is
labelled/<name>/     found masks as a dataset: annotations.json, and images, which leads to the originals
contexts/<name>/     a run of `xpaste contexts`
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpaste_ray.config import (
    ContextSettings,
    ForegroundSettings,
    PoolSettings,
    StudyPool,
    StudySettings,
    change,
    load,
)
from xpaste_ray.config.base import Section
from xpaste_ray.errors import ConfigError, RunError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.pipelines.build import build_pool
from xpaste_ray.pipelines.contexts import make_contexts
from xpaste_ray.pipelines.foregrounds import make_foregrounds
from xpaste_ray.pipelines.job import Progress
from xpaste_ray.pipelines.select import select_pool
from xpaste_ray.pool import Pool, current_pool, is_sealed, open_pool
from xpaste_ray.pool.merge import merge_pools
from xpaste_ray.pool.take import take_instances
from xpaste_ray.runs import RunDir, read_json, write_json, write_whole
from xpaste_ray.sources.labelled import open_labelled
from xpaste_ray.storage import locate

_CHOICE = {"build": ("select.", "cutout."), "foregrounds": ("foregrounds.em.", "foregrounds.cutout.")}
"""What another choice from the same candidates may change, by what made them."""


@dataclass(frozen=True, slots=True)
class MadePool:
    """folder: of the sealed pool. labelled: the dataset of the masks, if they were found in images."""

    folder: str
    labelled: Path | None = None


def pool_settings(study: StudySettings, name: str) -> Section | None:
    """Of the run that a pool is made by; None if it is made from other pools, or there already. ConfigError
    that names it."""
    pool = study.pools[name]
    try:
        match pool.origin:
            case "build":
                return load(PoolSettings, pool.build or "", (), pool.set)
            case "foregrounds":
                images = pool.images or study.data.images
                if images is None:
                    raise ConfigError("images is missing: set it here, or data.images for all")
                values = {"foregrounds.images.path": images, **pool.set}
                return load(ForegroundSettings, pool.foregrounds or "", (), values)
            case "of":
                return _chosen_again(study, pool)
    except ConfigError as error:
        raise ConfigError(f"pools.{name}: {error}") from None
    return None


def _chosen_again(study: StudySettings, pool: StudyPool) -> Section:
    parent = pool.of or ""
    allowed = _CHOICE[study.pools[parent].origin]
    for path in pool.set:
        if not path.startswith(allowed):
            raise ConfigError(
                f"set.{path}: of {parent}'s candidates another choice is made, by {' and '.join(allowed)}... "
                "only: for other candidates name a pool of its own"
            )
    settings = pool_settings(study, parent)
    assert settings is not None
    return change(settings, (), pool.set)


def context_settings(study: StudySettings, name: str) -> ContextSettings | None:
    """None if they are there already. ConfigError that names them."""
    contexts = study.contexts[name]
    if contexts.make is None:
        return None
    try:
        settings = load(ContextSettings, contexts.make)
        values = dict[str, Any](contexts.set)
        place, told = contexts.images or study.data.images, settings.contexts.images
        if place is not None and "contexts.images" not in values:
            values["contexts.images"] = {**(told.model_dump(mode="json") if told else {}), "path": place}
        settings = change(settings, (), values)
    except ConfigError as error:
        raise ConfigError(f"contexts.{name}: {error}") from None
    captions, images = settings.contexts.captions, settings.contexts.images
    if captions.kind == "blip" and images and images.path.startswith("embedded:"):
        raise ConfigError(
            f"contexts.{name}: images is missing, which is captioned: set it here, or data.images for all"
        )
    return settings


class StudyData:
    """Makes the parts of a study in its folder, or finds them there."""

    def __init__(self, study: StudySettings, root: Path, progress: Progress) -> None:
        self._study, self._root, self._progress = study, root, progress
        self._made: dict[str, MadePool] = {}

    def pool(self, name: str) -> MadePool:
        """With all that it is made from. ConfigError or RunError that names it."""
        for one in self._study.pools_needed([name]):
            if one not in self._made:
                self._progress.say(f"pool {one}")
                with_name = f"pool {one}: "
                try:
                    self._made[one] = self._make(one)
                except ConfigError as error:
                    raise ConfigError(f"{with_name}{error}") from None
                except RunError as error:
                    raise type(error)(f"{with_name}{error}") from error
        return self._made[name]

    def contexts(self, name: str) -> str:
        """Where they are, as `compose.contexts` has it."""
        settings, given = context_settings(self._study, name), self._study.contexts[name].path
        if settings is None:
            assert given is not None
            return given
        self._progress.say(f"contexts {name}")
        out = self._root / "contexts" / name
        try:
            make_contexts(settings, out, self._progress)
        except ConfigError as error:
            raise ConfigError(f"contexts {name}: {error}") from None
        return str(out)

    def _run(self, name: str) -> Path:
        return self._root / "pools" / name

    def _record(self, name: str) -> Path:
        return self._root / "pools" / f"{name}.json"

    def _make(self, name: str) -> MadePool:
        pool = self._study.pools[name]
        match pool.origin:
            case "build" | "foregrounds":
                settings = pool_settings(self._study, name)
                return self._chosen(name, name, settings)
            case "of":
                return self._of(name, pool)
            case "merge":
                parents = [self._open(parent) for parent in pool.merge or ()]
                merged = {"merge": [parent.fingerprint for parent in parents]}
                return self._new(name, merged, lambda folder: merge_pools(parents, locate(folder)))
            case "take":
                parent, most = self._open(pool.take or ""), pool.per_category or 0
                taken = {"take": parent.fingerprint, "per_category": most}
                return self._new(name, taken, lambda folder: take_instances(parent, most, locate(folder)))
            case _:
                assert pool.path is not None
                open_pool(pool.path)
                return MadePool(pool.path)

    def _open(self, name: str) -> Pool:
        return open_pool(self._made[name].folder)

    def _chosen(self, name: str, run: str, settings: Section | None) -> MadePool:
        """The pool that a run's settings choose, with its masks as a dataset if they were found in images."""
        place = self._run(run)
        if isinstance(settings, PoolSettings):
            build_pool(settings, place, self._progress)
            return MadePool(str(current_pool(place)))
        assert isinstance(settings, ForegroundSettings)
        make_foregrounds(settings, place, self._progress)
        return MadePool(str(current_pool(place)), self._labelled(name, place, settings))

    def _labelled(self, name: str, run: Path, settings: ForegroundSettings) -> Path:
        told = settings.foregrounds.images
        originals = locate(told.images) if told.images else open_labelled(told, "foregrounds.images").root
        folder = self._root / "labelled" / name
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "annotations.json", RunDir(run).annotations.read_bytes())
        link = folder / "images"
        if not link.is_symlink():
            link.symlink_to(originals.path.absolute())  # ConfigError if they are in an object store
        return folder

    def _of(self, name: str, pool: StudyPool) -> MadePool:
        """Another choice from a run, sealed in it beside the run's own, which stays the current one."""
        parent = pool.of or ""
        own = self._made[parent]
        recipe = fingerprint({"of": Path(own.folder).name, "set": pool.set})
        labelled = self._root / "labelled" / name if own.labelled else None
        if self._record(name).exists():
            told = read_json(self._record(name))
            folder = self._run(parent) / "pools" / str(told.get("pool"))
            if told.get("recipe") == recipe and is_sealed(locate(folder)):
                return MadePool(str(folder), labelled)
        if labelled is None:
            select_pool(str(self._run(parent)), self._progress, (), pool.set)
            made = MadePool(str(current_pool(self._run(parent))))
            select_pool(str(self._run(parent)), self._progress)
        else:
            made = self._chosen(name, parent, pool_settings(self._study, name))
            self._chosen(parent, parent, pool_settings(self._study, parent))
        write_json(self._record(name), {"recipe": recipe, "pool": Path(made.folder).name})
        return made

    def _new(self, name: str, recipe: Mapping[str, Any], write: Callable[[Path], Any]) -> MadePool:
        """A pool of parts of others, in a folder that its recipe names."""
        folder = self._run(name) / fingerprint(recipe)
        if not is_sealed(locate(folder)):
            shutil.rmtree(folder, ignore_errors=True)  # half-made
            write(folder)
            write_json(self._record(name), {"recipe": folder.name})
        return MadePool(str(folder))
