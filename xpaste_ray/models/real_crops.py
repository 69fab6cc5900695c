"""The user's real images of objects, which the similarity score compares with."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from xpaste_ray.categories import name_key
from xpaste_ray.config.score import RealSettings
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.fingerprints import fingerprint, hash_bytes
from xpaste_ray.models.views import view_of
from xpaste_ray.pictures.decode import decode
from xpaste_ray.pictures.headers import read_header
from xpaste_ray.pictures.usable import within
from xpaste_ray.pool import Pool, current_pool, open_pool
from xpaste_ray.pool.layout import MANIFEST
from xpaste_ray.rng import rng_for
from xpaste_ray.storage import Location, locate

_MAX_SIDE_PX = 1024  # as of all images here
_READERS = 16  # threads: reading is mostly waiting
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """pixels(): (H, W, 3) uint8 RGB, read when it is called. ConfigError if the file cannot be read."""

    name: str
    pixels: Callable[[], np.ndarray]


class RealCrops(Protocol):
    def of(self, category: str) -> Sequence[Crop]:
        """At most as many as the settings say, always the same ones; none of a category that has none."""
        ...

    def content(self, categories: Iterable[str]) -> str:
        """A hash of what is there of these categories, wherever it lies. ConfigError names a broken file."""
        ...


def open_real_crops(settings: RealSettings) -> RealCrops:
    """Of a run, a pool, or a folder with a folder of images for each category. ConfigError if it is none."""
    folder = locate(settings.crops)
    if (folder / "pool.json").is_file() or (folder / MANIFEST).is_file():
        return _PoolCrops(open_pool(folder), settings.per_category)
    return _FolderCrops(folder, settings.per_category)


def settled(settings: RealSettings) -> RealSettings:
    """A run's crops as those of its current pool: another selection of that run, or a build, points it at
    another pool. Raises ConfigError."""
    run = locate(settings.crops)
    pool = current_pool(run)
    if pool == run:
        return settings
    crops = str(pool)
    if not run.is_local:  # whose options, such as an endpoint, are in the address alone
        address, mark, options = settings.crops.partition("?")
        crops = f"{address.rstrip('/')}/{pool.relative_to(run).as_posix()}{mark}{options}"
    return settings.model_copy(update={"crops": crops})


class _FolderCrops:
    """`<category>/<any>.jpg`, png or webp, as they are."""

    def __init__(self, folder: Location, at_most: int) -> None:
        self._folder, self._at_most = folder, at_most
        self._names: dict[str, list[str]] = {}
        for name in folder.files():
            category, _, file = name.partition("/")
            if file.lower().endswith(_SUFFIXES) and "/" not in file:
                self._names.setdefault(name_key(category), []).append(name)
        if not self._names:
            raise ConfigError(
                f"score.real.crops: {folder} holds no images: give a folder with a folder of JPEG, PNG or "
                "WebP files for each category, named as the category is, or a run or a pool"
            )

    def of(self, category: str) -> list[Crop]:
        return [Crop(name, partial(self._pixels, name)) for name in self._chosen(category)]

    def content(self, categories: Iterable[str]) -> str:
        with ThreadPoolExecutor(_READERS) as threads:
            return fingerprint(
                {one: list(threads.map(self._checked_hash, self._chosen(one))) for one in categories}
            )

    def _chosen(self, category: str) -> list[str]:
        key = name_key(category)
        names = self._names.get(key, [])
        return [names[place] for place in _places(key, len(names), self._at_most)]

    def _checked_hash(self, name: str) -> str:
        data = (self._folder / name).read_bytes()
        try:
            read_header(data)
        except RowError as error:
            raise self._broken(name, error) from None
        return hash_bytes(data)

    def _pixels(self, name: str) -> np.ndarray:
        try:
            return within(decode((self._folder / name).read_bytes()), _MAX_SIDE_PX)
        except RowError as error:
            raise self._broken(name, error) from None

    def _broken(self, name: str, error: RowError) -> ConfigError:
        return ConfigError(f"score.real.crops: {self._folder / name} is no usable image ({error}): remove it")


class _PoolCrops:
    """A pool's cut-outs, on white."""

    def __init__(self, pool: Pool, at_most: int) -> None:
        self._pool, self._at_most = pool, at_most
        self._rows: dict[str, list[int]] = {}
        for category in pool.categories:
            rows = pool.rows_by_category.get(category.id, np.empty(0, int))
            self._rows.setdefault(name_key(category.name), []).extend(rows.tolist())

    def of(self, category: str) -> list[Crop]:
        key = name_key(category)
        rows = self._rows.get(key, [])
        chosen = [rows[place] for place in _places(key, len(rows), self._at_most)]
        return [Crop(self._pool.instance_ids[row], partial(self._pixels, row)) for row in chosen]

    def content(self, categories: Iterable[str]) -> str:
        return hash_bytes((self._pool.folder / MANIFEST).read_bytes())

    def _pixels(self, row: int) -> np.ndarray:
        rgba = self._pool.instance(row).rgba
        return view_of("white", rgba[..., :3], rgba[..., 3])


def _places(key: str, count: int, at_most: int) -> list[int]:
    """Which of a category's are taken: all in order, or a fixed random choice among too many."""
    if count <= at_most:
        return list(range(count))
    chosen: list[int] = rng_for(0, "real-crops", key).choice(count, at_most, replace=False).tolist()
    return sorted(chosen)
