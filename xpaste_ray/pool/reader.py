"""Reading a sealed pool: memory-mapped, shared between processes, safe after fork."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.cache import local_copy
from xpaste_ray.categories import Category, category_from_coco, name_key
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pool.layout import FORMAT, INDEX, INSTANCE_SCHEMA, MANIFEST, PIXELS
from xpaste_ray.pool.pixels import load_jpeg
from xpaste_ray.runs import read_json
from xpaste_ray.storage import Location, locate

_OR_BUILD = "or build one with `xpaste demo --out RUN` and give RUN"


@dataclass(frozen=True, slots=True)
class Instance:
    """One cut-out. rgba: (h, w, 4) uint8, straight colour; read-only, of raw pixels a view of the pool."""

    instance_id: str
    category_id: int
    rgba: np.ndarray

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.rgba.shape[0], self.rgba.shape[1]


@dataclass(frozen=True, slots=True)
class _Pixels:
    """Those of a record batch: offsets and bytes of two columns, and which instances are JPEGs."""

    data: tuple[np.ndarray, np.ndarray]
    alpha: tuple[np.ndarray, np.ndarray]
    is_jpeg: np.ndarray

    def rgba(self, offset: int, size_hw: tuple[int, int]) -> np.ndarray:
        """ValueError or OSError if it is damaged."""
        data = _one(self.data, offset)
        if self.is_jpeg[offset]:
            return load_jpeg(data, _one(self.alpha, offset), size_hw)
        return data.reshape(*size_hw, 4)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a pool was copied from. `checksum`: of its manifest; `cache_dir`: None for the node's default."""

    folder: Location
    checksum: str
    cache_dir: Path | None


class Pool:
    """A sealed pool in `folder`. Instances are numbered 0 .. len-1, in pool order.

    `renamed`: categories that stand for those of the pool, by the pool's ids; see `in_vocabulary`.
    `origin`: where the folder is this node's copy of.
    """

    def __init__(
        self, folder: Path, renamed: Mapping[int, Category] | None = None, origin: Origin | None = None
    ) -> None:
        self.folder, self._renamed, self.origin = folder, dict(renamed or {}), origin
        self.manifest: dict[str, Any] = read_json(folder / MANIFEST)
        if self.manifest.get("format") != FORMAT:
            raise ConfigError(
                f"{folder}: pool format {self.manifest.get('format')!r} is not {FORMAT}: build it again"
            )
        self._index = _map(folder / INDEX).read_all()
        self.category_ids: np.ndarray = self._index["category_id"].to_numpy()
        if self._renamed:
            ids = [self._renamed[c].id if c in self._renamed else c for c in self.category_ids.tolist()]
            self.category_ids = np.array(ids, self.category_ids.dtype)
        self.sizes_hw: np.ndarray = np.stack(
            [self._index[name].to_numpy() for name in ("height", "width")], axis=1
        )
        self._places = np.stack(
            [self._index[name].to_numpy() for name in ("shard", "batch", "offset")], axis=1
        )
        self._shards = [_map(folder / shard["name"]) for shard in self.manifest["shards"]]
        self._batches: dict[tuple[int, int], pa.RecordBatch] = {}
        self._pixels: dict[tuple[int, int], _Pixels] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process maps the files itself; on another node it copies them first."""
        if self.origin:
            return _open_copy, (self.origin, self._renamed)
        return Pool, (self.folder, self._renamed)

    def __len__(self) -> int:
        return len(self.category_ids)

    @property
    def fingerprint(self) -> str:
        value: str = self.manifest["fingerprint"]
        return value

    @property
    def files(self) -> list[dict[str, Any]]:
        """The manifest's entries of all other files: name and checksum."""
        return [self.manifest["index"], *self.manifest["shards"]]

    @cached_property
    def categories(self) -> tuple[Category, ...]:
        """All categories that the pool was built for, those without instances too."""
        own = map(category_from_coco, self.manifest["categories"])
        return tuple(self._renamed.get(category.id, category) for category in own)

    def in_vocabulary(self, theirs: Sequence[Category]) -> "Pool":
        """The same instances, their categories told as a dataset numbers them.

        A category of the same name (but for case, underscores and spaces) is theirs; another one keeps
        its id, unless they use it for something else: then it gets the next one that is free.
        """
        by_name = {name_key(category.name): category for category in theirs}
        taken = {category.id for category in theirs}
        free = count(1 + max([*taken, *(category.id for category in self.categories)], default=0))
        renamed = dict(self._renamed)
        for entry, own in zip(self.manifest["categories"], self.categories, strict=True):
            known = by_name.get(name_key(own.name))
            if known:
                frequency = known.frequency or own.frequency
                renamed[entry["id"]] = replace(own, id=known.id, name=known.name, frequency=frequency)
            elif own.id in taken:
                renamed[entry["id"]] = replace(own, id=next(free))
        return Pool(self.folder, renamed, self.origin) if renamed else self

    @cached_property
    def rows_by_category(self) -> dict[int, np.ndarray]:
        """Instance numbers of every category that has any, by category id; keys ascend."""
        return {int(c): np.flatnonzero(self.category_ids == c) for c in np.unique(self.category_ids)}

    @cached_property
    def rows_by_source_image(self) -> tuple[np.ndarray, ...]:
        """Instance numbers of every image that instances were cut from, of whatever categories, in the order
        of the images' first instances."""
        images = self._index["image"].combine_chunks().dictionary_encode().indices.to_numpy()
        order = np.argsort(images, kind="stable")
        return tuple(np.split(order, np.flatnonzero(np.diff(images[order])) + 1))

    @cached_property
    def instance_ids(self) -> list[str]:
        ids: list[str] = self._index["instance_id"].to_pylist()
        return ids

    @cached_property
    def row_of_id(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.instance_ids)}

    def instance(self, row: int) -> Instance:
        """The cut-out number `row`; raw pixels are not copied, those of a JPEG are decoded each time.

        ConfigError if it is damaged."""
        shard, number, offset = self._places[row].tolist()
        if (shard, number) not in self._pixels:
            self._pixels[shard, number] = _pixels_of(self._batch(shard, number))
        try:
            rgba = self._pixels[shard, number].rgba(offset, self.size_hw(row))
        except (ValueError, OSError) as error:
            raise ConfigError(
                f"{self.folder}: instance {self.instance_ids[row]} is damaged ({error}): "
                "`xpaste pool verify` tells more; seal the pool again"
            ) from None
        return Instance(self.instance_ids[row], self.category_id(row), rgba)

    def category_id(self, row: int) -> int:
        return int(self.category_ids[row])

    def size_hw(self, row: int) -> tuple[int, int]:
        height, width = self.sizes_hw[row].tolist()
        return height, width

    def provenance(self, row: int) -> dict[str, Any]:
        """Everything that is known of an instance but its pixels."""
        shard, number, offset = self._places[row].tolist()
        batch = self._batch(shard, number)
        return {name: batch[name][offset].as_py() for name in batch.schema.names if name not in PIXELS}

    def stored(self, row: int) -> dict[str, Any]:
        """The row of `layout.INSTANCE_SCHEMA` as it is, its pixels not decoded."""
        shard, number, offset = self._places[row].tolist()
        (told,) = self._batch(shard, number).slice(offset, 1).to_pylist()
        return dict(told)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of `layout.INSTANCE_SCHEMA`, without touching the others."""
        kind = INSTANCE_SCHEMA.field(name).type
        batches = (
            self._batch(shard, number)
            for shard, file in enumerate(self._shards)
            for number in range(file.num_record_batches)
        )
        return pa.chunked_array([batch[name] for batch in batches], kind)

    def _batch(self, shard: int, number: int) -> pa.RecordBatch:
        if (shard, number) not in self._batches:
            self._batches[shard, number] = self._shards[shard].get_batch(number)
        return self._batches[shard, number]


def open_pool(path: str | Path | Location, cache_dir: Path | None = None) -> Pool:
    """The pool of a run (its current one) or in a pool folder. ConfigError if there is none.

    One in an object store is copied once a node, into `cache_dir` or the user's cache. StorageError if the
    copy does not arrive whole.
    """
    folder, checksum = _current(locate(path))
    if not (folder / MANIFEST).is_file():
        raise ConfigError(_no_pool(folder))
    if folder.is_local:
        return Pool(folder.path)
    return _open_copy(Origin(folder, checksum or hash_bytes((folder / MANIFEST).read_bytes()), cache_dir))


def current_pool(path: str | Path | Location) -> Location:
    """The folder of a run's current pool; another folder itself. ConfigError if the run is damaged."""
    return _current(locate(path))[0]


def is_sealed(folder: Location) -> bool:
    """Whether all files of a sealed pool are there and none has lost its end. Reads no pixels."""
    try:
        told = read_json(folder / MANIFEST)
        for file in (told["index"], *told["shards"]):
            with (folder / file["name"]).open() as data:
                pa.ipc.open_file(data)
    except (ConfigError, FileNotFoundError, KeyError, TypeError, pa.ArrowInvalid):
        return False
    return True


def _current(folder: Location) -> tuple[Location, str | None]:
    """The folder of a run's current pool and the checksum of its manifest; another folder itself."""
    pointer = folder / "pool.json"
    if not pointer.is_file():
        return folder, None
    told = read_json(pointer)
    if not isinstance(told.get("current"), str):
        raise ConfigError(f"{pointer} is damaged: run the command that made {folder} again")
    return folder / told["current"], told.get("manifest_checksum")


def _open_copy(origin: Origin, renamed: Mapping[int, Category] | None = None) -> Pool:
    """The pool from this node's copy, which is made if it is not there yet."""
    manifest = local_copy(origin.folder, {MANIFEST: origin.checksum}, origin.cache_dir)
    told = read_json(manifest / MANIFEST)
    files = {file["name"]: file["checksum"] for file in (told["index"], *told["shards"])}
    files[MANIFEST] = origin.checksum
    return Pool(local_copy(origin.folder, files, origin.cache_dir), renamed, origin)


def _no_pool(folder: Location) -> str:
    if not folder.exists():
        return f"{folder} does not exist, so it holds no sealed pool: check the path, {_OR_BUILD}"
    if not folder.is_dir():
        return f"{folder} is a file, so it holds no sealed pool: give a folder, {_OR_BUILD}"
    return f"{folder} holds no sealed pool ({MANIFEST} is missing): give a run that has one, {_OR_BUILD}"


def _pixels_of(batch: pa.RecordBatch) -> _Pixels:
    is_jpeg = pc.equal(batch["encoding"], "jpeg").to_numpy(zero_copy_only=False)
    return _Pixels(_binary_column(batch["rgba"]), _binary_column(batch["alpha"]), is_jpeg)


def _binary_column(column: pa.LargeBinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and bytes of a column, as views: an Arrow scalar costs more than its pixels."""
    _, offsets, data = column.buffers()
    return np.frombuffer(offsets, np.int64)[column.offset :], np.frombuffer(data or b"", np.uint8)


def _one(column: tuple[np.ndarray, np.ndarray], offset: int) -> np.ndarray:
    offsets, data = column
    return data[offsets[offset] : offsets[offset + 1]]


def _map(path: Path) -> pa.ipc.RecordBatchFileReader:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{path} is damaged or missing ({error}): seal the pool again") from None
