"""What every format offers, and what it is told: the contract between `dataset` and the formats."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from xpaste_ray.categories import Category, category_from_coco, category_to_coco, did_you_mean
from xpaste_ray.config import FormatName
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.findings import Finding
from xpaste_ray.formats.images import ImageEncoding, image_name
from xpaste_ray.formats.shards import Fragment, Polygons, Shard, plan_shards
from xpaste_ray.runs import read_json, write_json
from xpaste_ray.samples import Sample

FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)

SPEC_FILE = "dataset.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """What a dataset is. With its fragments, all that is needed to write, convert and check it.

    `polygons` asks COCO and LVIS files for polygons instead of RLE. `info` goes into their `info`.
    """

    recipe: str
    formats: tuple[FormatName, ...]
    encoding: ImageEncoding
    categories: tuple[Category, ...]
    count: int
    samples_per_shard: int
    polygons: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMAT_NAMES:
                raise ConfigError(f"unknown format {name!r}{did_you_mean(name, FORMAT_NAMES)}")
        if not self.formats or len(set(self.formats)) < len(self.formats):
            raise ConfigError(f"formats must be one or more, each once, got {list(self.formats)}")
        if len({category.id for category in self.categories}) < len(self.categories):
            raise ConfigError("two categories have the same id: give each its own")
        if self.count < 1 or self.samples_per_shard < 1:
            raise ConfigError(
                "count and samples_per_shard must be at least 1, got "
                f"{self.count} and {self.samples_per_shard}"
            )

    @property
    def shards(self) -> list[Shard]:
        return plan_shards(self.count, self.samples_per_shard)

    @property
    def wants_polygons(self) -> bool:
        return self.polygons and not {"coco", "lvis"}.isdisjoint(self.formats)


Add = Callable[[Sample, Polygons | None], None]
"""Takes the samples in order, once each; the polygons are there if the dataset has any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format, as functions of the folder that it has to itself.

    `image_folder` is where the images lie as files, which `dataset` writes; None for a format that packs
    them itself, into one file a shard, `packed`. `write_shard` writes the shard's other files, each
    whole, with the same bytes for the same samples. `finish` writes what needs all shards: a context that
    hands out `Add`, commits when left, and leaves nothing half-written when left by an error.
    `read_images` gives the images of the named shard back, in order (OSError if one is missing). `check`
    compares the format's own files with the fragments.
    """

    image_folder: str | None = None
    packed: Callable[[Shard], str] | None = None
    write_shard: Callable[[Path, Shard, Sequence[Sample], Sequence[bytes], DatasetSpec], None]
    finish: Callable[[Path, DatasetSpec], AbstractContextManager[Add]]
    read_images: Callable[[Path, Shard, DatasetSpec], Iterator[bytes]]
    check: Callable[[Path, DatasetSpec, Iterable[tuple[Shard, Fragment]]], Iterator[Finding]]


def image_files(image_folder: str) -> Callable[[Path, Shard, DatasetSpec], Iterator[bytes]]:
    """`read_images` of a format whose images are files."""

    def read(folder: Path, shard: Shard, spec: DatasetSpec) -> Iterator[bytes]:
        for index in shard.indices:
            yield (folder / image_folder / image_name(index, spec.encoding)).read_bytes()

    return read


def categories_to_json(spec: DatasetSpec) -> list[dict[str, Any]]:
    return [category_to_coco(category) for category in spec.categories]


def spec_to_json(spec: DatasetSpec) -> dict[str, Any]:
    """Plain JSON: no time, host or absolute path, so that the same dataset has the same file."""
    encoding = spec.encoding
    return {
        "format": 1,
        "recipe": spec.recipe,
        "formats": list(spec.formats),
        "image": {
            "format": encoding.format,
            "quality": encoding.quality,
            "subsampling": encoding.subsampling,
        },
        "polygons": spec.polygons,
        "count": spec.count,
        "samples_per_shard": spec.samples_per_shard,
        "info": dict(spec.info),
        "categories": categories_to_json(spec),
    }


def write_spec(dataset: Path, spec: DatasetSpec) -> None:
    """Write `dataset.json`, the last file of a dataset: present means finished."""
    write_json(dataset / SPEC_FILE, spec_to_json(spec))


def has_spec(dataset: Path, spec: DatasetSpec) -> bool:
    """Whether `dataset.json` is there and says the same. Never raises."""
    try:
        found = read_json(dataset / SPEC_FILE)
    except (OSError, ConfigError):
        return False
    return bool(found == json.loads(json.dumps(spec_to_json(spec))))


def refuse_relative_of_dataset(folder: Path) -> None:
    """ConfigError that names the dataset if a folder is a run that holds one, or a part of one."""
    if (folder / "dataset" / SPEC_FILE).is_file():
        raise ConfigError(f"{folder} is a run: give its dataset, {folder / 'dataset'}")
    parent = folder.absolute().parent
    if folder.is_dir() and folder.name in FORMAT_NAMES and (parent / SPEC_FILE).is_file():
        raise ConfigError(f"{folder} is one of the formats of a dataset: give the dataset, {folder.parent}")


def read_spec(dataset: Path) -> DatasetSpec:
    """A finished dataset's description; ConfigError if the folder is no such dataset."""
    path = dataset / SPEC_FILE
    if not path.is_file():
        refuse_relative_of_dataset(dataset)
        raise ConfigError(
            f"{dataset} is not a finished dataset (it has no {SPEC_FILE}): give the folder that was composed "
            "or converted, and if that was interrupted, run the same command again first"
        )
    value = read_json(path)
    if value.get("format") != 1:
        raise ConfigError(
            f"{path} has format {value.get('format')!r}, and this version reads format 1: use the version "
            "that wrote it"
        )
    try:
        return DatasetSpec(
            recipe=value["recipe"],
            formats=tuple(value["formats"]),
            encoding=ImageEncoding(**value["image"]),
            categories=tuple(map(category_from_coco, value["categories"])),
            count=value["count"],
            samples_per_shard=value["samples_per_shard"],
            polygons=value["polygons"],
            info=value["info"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is damaged ({type(error).__name__}: {error}): delete it and run the command that wrote "
            "the dataset again"
        ) from None
