"""YOLO segmentation: one text file an image, one line an object.

images/000000.jpg ...
labels/000000.txt       class x1 y1 x2 y2 ...; an image without objects has an empty file
data.yaml               train, val, names

The class is the category's position in the dataset's list. One line holds one ring, so several parts of
a mask, and its holes, are joined by bridges, as the format's usual converter from COCO does. Crowds are
left out, and a line has no room for where its object comes from: the dataset's fragments say it, in the
order of the lines. `val` names the training images, because trainers insist on it: point it at real ones.
`data.yaml` has no `path`: its readers then take the folder that the file lies in, and a relative path
they would look for in the current folder.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from xpaste_ray.formats.contract import Add, DatasetSpec, Format, image_files
from xpaste_ray.formats.findings import Finding, check_file_names
from xpaste_ray.formats.images import sample_name
from xpaste_ray.formats.polygons import pixel_polygon
from xpaste_ray.formats.rle import decode_in_box
from xpaste_ray.formats.shards import Fragment, Shard
from xpaste_ray.runs import write_whole
from xpaste_ray.samples import Annotation, Sample

IMAGES, LABELS, DATA_YAML = "images", "labels", "data.yaml"

# Readers turn a coordinate into a pixel index by rounding or by cutting off; both give x for x + 0.25.
_INSIDE_PIXEL = 0.25
_LOW, _HIGH = 0.05, 0.45  # the same holds anywhere between these, which gives a line of pixels a width


def label_line(annotation: Annotation, class_index: int, size_hw: tuple[int, int]) -> str:
    """One object: its class and a ring of at least 3 points, in fractions of the image's size."""
    left, top = annotation.bbox[:2]
    ring = pixel_polygon(decode_in_box(annotation.segmentation, annotation.bbox))
    points = (_widened(ring) if len(ring) < 3 else ring + _INSIDE_PIXEL) + np.array([left, top])
    height, width = size_hw
    fractions = (points / np.array([width, height])).ravel().tolist()
    return f"{class_index}" + " %.6f" * len(fractions) % tuple(fractions)


def _widened(ring: np.ndarray) -> np.ndarray:
    """One or two points as a quadrilateral around them, inside their pixels."""
    (x1, y1), (x2, y2) = ring[0], ring[-1]
    corners = [
        (x1 + _LOW, y1 + _LOW),
        (x2 + _HIGH, y2 + _LOW),
        (x2 + _HIGH, y2 + _HIGH),
        (x1 + _LOW, y1 + _HIGH),
    ]
    return np.array(corners)


def write_shard(
    folder: Path, shard: Shard, samples: Sequence[Sample], images: Sequence[bytes], spec: DatasetSpec
) -> None:
    class_of = {category.id: index for index, category in enumerate(spec.categories)}
    for sample in samples:
        size_hw = sample.height, sample.width
        lines = [label_line(entry, class_of[entry.category_id], size_hw) for entry in _objects(sample)]
        write_whole(folder / LABELS / _label_name(sample), "".join(f"{line}\n" for line in lines).encode())


def _objects(sample: Sample) -> list[Annotation]:
    return [annotation for annotation in sample.annotations if not annotation.iscrowd]


def _label_name(sample: Sample) -> str:
    return sample_name(sample.index) + ".txt"


def _data(spec: DatasetSpec) -> dict[str, Any]:
    names = {index: category.name for index, category in enumerate(spec.categories)}
    return {"train": IMAGES, "val": IMAGES, "names": names}


@contextmanager
def finish(folder: Path, spec: DatasetSpec) -> Iterator[Add]:
    yield lambda sample, polygons: None
    text = yaml.safe_dump(_data(spec), sort_keys=False, allow_unicode=True)
    write_whole(folder / DATA_YAML, text.encode())


def check(folder: Path, spec: DatasetSpec, fragments: Iterable[tuple[Shard, Fragment]]) -> Iterator[Finding]:
    yield from _check_data_yaml(folder / DATA_YAML, spec)
    class_of = {category.id: index for index, category in enumerate(spec.categories)}
    names = set()
    for _, fragment in fragments:
        for sample in fragment.samples:
            names.add(_label_name(sample))
            yield from _check_labels(folder / LABELS / _label_name(sample), sample, class_of)
    yield from check_file_names(folder / LABELS, names)


def _check_data_yaml(path: Path, spec: DatasetSpec) -> Iterator[Finding]:
    if not path.is_file():
        yield Finding(rule="file_missing", text=f"{path.name} is missing")
        return
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        yield Finding(rule="file_damaged", text=f"{path.name} is not YAML: {' '.join(str(error).split())}")
        return
    if not isinstance(found, dict) or found.get("names") != _data(spec)["names"]:
        yield Finding(rule="categories_differ", text=f"{path.name} has other names than dataset.json")


def _check_labels(path: Path, sample: Sample, class_of: dict[int, int]) -> Iterator[Finding]:
    if not path.is_file():
        return  # named with the other missing files
    image_id, objects = sample.index + 1, _objects(sample)
    try:
        texts = path.read_text(encoding="ascii").splitlines()
    except ValueError:
        yield Finding(rule="file_damaged", text=f"{path.name} is not plain text", image_id=image_id)
        return
    lines = []
    for number, text in enumerate(texts, 1):
        try:
            lines.append(_parse_line(text))
        except ValueError:
            text = f"{path.name} line {number} is not a class number and pairs of x and y"
            yield Finding(rule="file_damaged", text=text, image_id=image_id)
            return
    if len(lines) != len(objects):
        text = f"{path.name} has {len(lines)} lines for {len(objects)} objects"
        yield Finding(rule="label_count", text=text, image_id=image_id)
        return
    for number, ((class_index, points), annotation) in enumerate(zip(lines, objects, strict=True), 1):
        if class_index != class_of.get(annotation.category_id):
            text = f"{path.name} line {number}: class {class_index} is not category {annotation.category_id}"
            yield Finding(rule="label_class", text=text, image_id=image_id)
        if len(points) < 3 or points.min() < 0 or points.max() > 1:
            text = f"{path.name} line {number}: needs 3 points or more, each from 0 to 1"
            yield Finding(rule="label_polygon", text=text, image_id=image_id)
        elif not _fits_box(points, annotation, sample):
            text = f"{path.name} line {number}: the polygon's box is not the annotation's"
            yield Finding(rule="label_polygon", text=text, image_id=image_id)


def _parse_line(line: str) -> tuple[int, np.ndarray]:
    """The class and (points, 2). ValueError if the line is something else."""
    class_index, *coordinates = line.split()
    return int(class_index), np.array(coordinates, dtype=np.float64).reshape(-1, 2)


def _fits_box(points: np.ndarray, annotation: Annotation, sample: Sample) -> bool:
    """Whether the pixels that the ring's points lie in span the annotation's box."""
    pixels = np.floor(points * np.array([sample.width, sample.height])).astype(np.int64)
    (left, top), (right, bottom) = pixels.min(axis=0), pixels.max(axis=0)
    return (left, top, right - left + 1, bottom - top + 1) == tuple(annotation.bbox)


FORMAT = Format(
    image_folder=IMAGES,
    write_shard=write_shard,
    finish=finish,
    read_images=image_files(IMAGES),
    check=check,
)
