"""Checking a whole dataset: every sample by the rules, every format's files against the fragments.

`validate` takes a dataset of ours, or a COCO or LVIS file with images that somebody else made.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import zip_longest
from pathlib import Path

from xpaste_ray.backgrounds.dataset import annotation_file
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats import coco_file
from xpaste_ray.formats.contract import SPEC_FILE, DatasetSpec, read_spec, refuse_relative_of_dataset
from xpaste_ray.formats.dataset import FORMATS, format_folder, image_folders
from xpaste_ray.formats.findings import Finding, Progress, Report, check_file_names
from xpaste_ray.formats.images import image_name
from xpaste_ray.formats.rules import check_sample, check_sample_image
from xpaste_ray.formats.shards import Fragment, Shard, find_shards, read_fragment
from xpaste_ray.samples import Sample

_UNUSABLE = {
    "sample_damaged", "category_unknown", "rle_damaged", "rle_size",
    "box_damaged", "box_empty", "box_outside", "box_differs",
}  # fmt: skip
"""Rules without which labels cannot be made from a sample again, to compare with a format's files."""

_OF_IMAGES = {"image_missing", "image_truncated", "image_unreadable", "image_size"}
_STRAY = {"file_stray", "fragment_stray"}


def validate(path: Path, images: Path | None = None, progress: Progress | None = None) -> Report:
    """Check all of a dataset.

    `path` is a dataset's folder, or a COCO or LVIS JSON file (or a folder with one, as for backgrounds)
    of any origin; `images` is the folder of such a file's images, if they are in none of the places where
    they are sought for backgrounds. ConfigError if there is nothing to check at `path`.
    """
    report, tell = Report(), progress or (lambda part, done: None)
    if (path / SPEC_FILE).is_file():
        _validate_dataset(path, report, tell)
        report.remedies += _remedies(path, report)
        return report
    if (path / "fragments").is_dir():
        read_spec(path)  # raises: begun and not finished
    file = (annotation_file(path) or path / "annotations.json") if path.is_dir() else path
    if images is not None and not images.is_dir():
        raise ConfigError(f"--images {images} is not a folder")
    if not file.is_file():
        refuse_relative_of_dataset(path)
        raise ConfigError(
            f"{path} is neither a dataset's folder ({SPEC_FILE} or annotations.json) nor a COCO or LVIS "
            "file: check the path"
        )
    coco_file.check_file(file, images, report, tell)
    return report


def _validate_dataset(dataset: Path, report: Report, tell: Progress) -> None:
    try:
        spec = read_spec(dataset)
    except ConfigError as error:
        report.add([Finding(rule="dataset_json_damaged", text=str(error))])
        return
    broken = list(_check_fragments(dataset, spec))
    report.add(broken)
    _check_samples(dataset, spec, report, tell)
    for folder in image_folders(dataset, spec):
        expected = {image_name(index, spec.encoding) for index in range(spec.count)}
        findings = check_file_names(folder, expected)
        report.add(finding for finding in findings if finding.rule == "file_stray")  # the missing are named
    if broken or not _UNUSABLE.isdisjoint(rule for _, rule in report.counts):
        text = "the files of the formats were not compared: what is named above has to be mended first"
        report.add([Finding(rule="formats_not_checked", text=text)])
        return
    for name in spec.formats:
        fragments = _readable_fragments(dataset, spec, partial(tell, name))
        report.add(FORMATS[name].check(format_folder(dataset, name, spec), spec, fragments))


def _remedies(dataset: Path, report: Report) -> Iterator[str]:
    """Datasets of ours need no mending by hand: what is deleted is written again, the same bytes."""
    broken = {rule for severity, rule in report.counts if severity == "error"} - {"formats_not_checked"}
    again = "run the same command again that wrote the dataset (`xpaste compose` or `xpaste convert`)"
    if broken & _OF_IMAGES:
        yield f"broken images: delete each (or the .tar or .parquet file that holds it) and {again}"
    if broken & _STRAY:
        yield "files that do not belong to the dataset: delete them"
    if broken - _OF_IMAGES - _STRAY:
        yield f"labels and lists: delete {dataset / 'fragments'} and {dataset / SPEC_FILE}, and {again}"


def _check_samples(dataset: Path, spec: DatasetSpec, report: Report, tell: Progress) -> None:
    """Every sample and its image files by the rules; images on all cores, as decoding takes the time."""
    category_ids = {category.id for category in spec.categories}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for shard, fragment in _readable_fragments(dataset, spec, partial(tell, "samples")):
            images = threads.map(partial(_check_images, dataset, spec), fragment.samples)
            for sample, polygons, findings in zip_longest(fragment.samples, fragment.polygons or (), images):
                try:
                    report.add(check_sample(sample, report.annotations + 1, category_ids, polygons))
                except (TypeError, ValueError):  # values of other types than declared
                    text = f"sample {sample.index} in fragments/{shard.name}.json has values of a wrong kind"
                    report.add([Finding(rule="sample_damaged", text=text, image_id=sample.index + 1)])
                    continue
                report.add(findings)
                report.images += 1
                report.annotations += len(sample.annotations)


def _check_images(dataset: Path, spec: DatasetSpec, sample: Sample) -> list[Finding]:
    """The sample's image in every folder that has one; a file of several names is decoded once."""
    findings: list[Finding] = []
    checked: set[tuple[int, int]] = set()
    for folder in image_folders(dataset, spec):
        path = folder / image_name(sample.index, spec.encoding)
        if path.exists():
            status = path.stat()
            if (status.st_dev, status.st_ino) in checked:
                continue
            checked.add((status.st_dev, status.st_ino))
        findings += check_sample_image(path, path.relative_to(dataset).as_posix(), sample)
    return findings


def _check_fragments(dataset: Path, spec: DatasetSpec) -> Iterator[Finding]:
    """The fragments are those of the dataset's shards, whole, and cover its samples without a gap."""
    found, expected = set(find_shards(dataset)), set(spec.shards)
    for shard in sorted(expected - found):
        yield Finding(rule="fragment_missing", text=f"fragments/{shard.name}.json is missing")
    for shard in sorted(found - expected):
        yield Finding(rule="fragment_stray", text=f"fragments/{shard.name}.json is no shard of the dataset")
    for shard in sorted(found & expected):
        try:
            fragment = read_fragment(dataset, shard)
        except ConfigError as error:
            yield Finding(rule="fragment_damaged", text=str(error))
            continue
        if fragment.recipe != spec.recipe:
            yield Finding(rule="fragment_recipe", text=f"fragments/{shard.name}.json is of another recipe")
        if (fragment.polygons is not None) != spec.wants_polygons:
            text = f"fragments/{shard.name}.json has polygons and should not, or lacks them"
            yield Finding(rule="fragment_polygons", text=text)


def _readable_fragments(
    dataset: Path, spec: DatasetSpec, advance: Callable[[int], None]
) -> Iterator[tuple[Shard, Fragment]]:
    """The dataset's fragments in order, without those that `_check_fragments` names."""
    for shard in spec.shards:
        try:
            fragment = read_fragment(dataset, shard)
        except ConfigError:
            continue
        yield shard, fragment
        advance(len(fragment.samples))
