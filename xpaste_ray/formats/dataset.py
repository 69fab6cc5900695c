"""A dataset in all its formats: shards written from samples, then what needs all shards.

One format has the dataset's folder to itself, beside `fragments/` and `dataset.json`; several lie in
folders named after them. An image that several formats want as a file is one file with several names.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

from xpaste_ray.config import FormatName
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats import coco, lvis, parquet, voc, webdataset, yolo
from xpaste_ray.formats.contract import DatasetSpec, Format, has_spec, write_spec
from xpaste_ray.formats.images import image_name
from xpaste_ray.formats.polygons import polygons_of
from xpaste_ray.formats.shards import Shard, is_committed, read_fragment, write_fragment
from xpaste_ray.runs import write_whole
from xpaste_ray.samples import Sample
from xpaste_ray.storage import aside_of

FORMATS: dict[FormatName, Format] = {
    "coco": coco.FORMAT,
    "lvis": lvis.FORMAT,
    "yolo": yolo.FORMAT,
    "voc": voc.FORMAT,
    "webdataset": webdataset.FORMAT,
    "parquet": parquet.FORMAT,
}

Advance = Callable[[int], None]
"""Told how many more samples are done."""


def format_folder(dataset: Path, name: FormatName, spec: DatasetSpec) -> Path:
    """Where a format's files lie."""
    return dataset if len(spec.formats) == 1 else dataset / name


def image_folders(dataset: Path, spec: DatasetSpec) -> list[Path]:
    """The folders that hold images as files, in the order of the formats."""
    named = [(name, FORMATS[name].image_folder) for name in spec.formats]
    return [format_folder(dataset, name, spec) / images for name, images in named if images]


def write_shard(
    dataset: Path,
    shard: Shard,
    samples: Sequence[Sample],
    images: Sequence[bytes],
    counts: Mapping[str, int],
    spec: DatasetSpec,
) -> None:
    """Write a shard in every format of the dataset, and commit it.

    `images` are the samples' encoded images (`encode_image`), `counts` what the caller wants added up
    over all shards. The same arguments give the same bytes. ValueError if the samples are not the
    shard's, there is not one image for each, or a category is not the dataset's: a defect of the caller.
    """
    if [sample.index for sample in samples] != list(shard.indices) or len(images) != len(samples):
        raise ValueError(
            f"shard {shard.name} was given {len(samples)} samples and {len(images)} images, or other samples"
        )
    used = {annotation.category_id for sample in samples for annotation in sample.annotations}
    unknown = sorted(used - {category.id for category in spec.categories})
    if unknown:
        raise ValueError(f"shard {shard.name} has categories {unknown}, which the dataset does not")
    _write_images(image_folders(dataset, spec), samples, images, spec)
    for name in spec.formats:
        FORMATS[name].write_shard(format_folder(dataset, name, spec), shard, samples, images, spec)
    polygons = [polygons_of(sample) for sample in samples] if spec.wants_polygons else None
    write_fragment(dataset, shard, spec.recipe, counts, samples, polygons)


def _write_images(
    folders: list[Path], samples: Sequence[Sample], images: Sequence[bytes], spec: DatasetSpec
) -> None:
    for sample, data in zip(samples, images, strict=True):
        paths = [folder / image_name(sample.index, spec.encoding) for folder in folders]
        for number, path in enumerate(paths):
            if number == 0:
                write_whole(path, data)
            else:
                _link(paths[0], path)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; a copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(target)
    aside.unlink(missing_ok=True)  # a process of the same number may have died here
    try:
        os.link(source, aside)
    except OSError:
        shutil.copyfile(source, aside)
    aside.replace(target)
    aside.unlink(missing_ok=True)  # a rename onto another name of the same file does nothing


def missing_shards(dataset: Path, spec: DatasetSpec) -> list[Shard]:
    """Shards that still have to be written: without a fragment of this recipe, or with an image gone."""
    lost = _shards_with_lost_images(dataset, spec)
    return [shard for shard in spec.shards if shard in lost or not is_committed(dataset, shard, spec.recipe)]


def _shards_with_lost_images(dataset: Path, spec: DatasetSpec) -> set[Shard]:
    """By the names of files: each folder is listed once."""
    lost: set[Shard] = set()
    for folder in image_folders(dataset, spec):
        found = _names(folder)
        for shard in spec.shards:
            if not all(image_name(index, spec.encoding) in found for index in shard.indices):
                lost.add(shard)
    for name in spec.formats:
        if packed := FORMATS[name].packed:
            folder = format_folder(dataset, name, spec)
            lost |= {shard for shard in spec.shards if not (folder / packed(shard)).exists()}
    return lost


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def finish(dataset: Path, spec: DatasetSpec, advance: Advance | None = None) -> Counter[str]:
    """Write what needs all shards, `dataset.json` last of all.

    Each fragment is read once, for all formats, and memory holds one of them. Returns the numbers of
    images and annotations, with the shards' own counts added up. ConfigError if a fragment is missing,
    damaged or of another recipe.
    """
    counts: Counter[str] = Counter(images=0, annotations=0)
    with ExitStack() as stack:
        adders = [
            stack.enter_context(FORMATS[name].finish(format_folder(dataset, name, spec), spec))
            for name in spec.formats
        ]
        for shard in spec.shards:
            fragment = read_fragment(dataset, shard)
            if fragment.recipe != spec.recipe:
                raise ConfigError(
                    f"shard {shard.name} of {dataset} was made with other settings: run the same command "
                    "again, or choose another folder"
                )
            for sample, polygons in zip_longest(fragment.samples, fragment.polygons or ()):
                for add in adders:
                    add(sample, polygons)
            counts.update(fragment.counts)
            counts["images"] += len(fragment.samples)
            counts["annotations"] += sum(len(sample.annotations) for sample in fragment.samples)
            if advance:
                advance(len(fragment.samples))
    write_spec(dataset, spec)
    return counts


def is_finished(dataset: Path, spec: DatasetSpec) -> bool:
    """Whether the dataset is there as described, to the last shard. Never raises."""
    return has_spec(dataset, spec) and not missing_shards(dataset, spec)


def read_images(dataset: Path, shard: Shard, spec: DatasetSpec) -> Iterator[bytes]:
    """The shard's encoded images in order, out of the dataset's first format. OSError if one is missing."""
    name = spec.formats[0]
    return FORMATS[name].read_images(format_folder(dataset, name, spec), shard, spec)
