"""Composed samples as they are received: a zip, read whole and checked."""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from pycocotools import mask as coco_mask

from xpaste_ray.client.errors import DamagedAnswer
from xpaste_ray.client.versions import Versions
from xpaste_ray.errors import RowError
from xpaste_ray.masks import BoxXYWH
from xpaste_ray.pictures.decode import decode
from xpaste_ray.samples import Annotation, Sample

_DAMAGED = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError,  # a zip's
    KeyError, TypeError, ValueError, AttributeError, IndexError, RowError,  # of what is in it
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """One object of a sample. annotation: all that is known of it, as `xpaste_ray.samples` has it."""

    category: str
    annotation: Annotation

    @property
    def category_id(self) -> int:
        return self.annotation.category_id

    @property
    def bbox(self) -> BoxXYWH:
        """x, y, width, height in pixels of the image, tight around what is seen."""
        return self.annotation.bbox

    @property
    def segmentation(self) -> dict[str, Any]:
        """COCO's compressed RLE, {"size": [H, W], "counts": str}, of what is seen."""
        return self.annotation.segmentation

    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        decoded: np.ndarray = coco_mask.decode(self.annotation.segmentation).view(bool)
        return decoded


@dataclass(frozen=True, slots=True)
class ReceivedSample:
    """A composed image with its objects, bottom to top.

    image: (H, W, 3) uint8 RGB. sample: what is known of it, as `xpaste_ray.samples` has it, but for LVIS's
    lists. plan: how it was made; `render` takes it.
    """

    image: np.ndarray
    sample: Sample
    plan: dict[str, Any]
    annotations: tuple[LabelledObject, ...]

    @property
    def number(self) -> int:
        """In the endless row that seed, preset and options give."""
        return self.sample.index


@dataclass(frozen=True, slots=True)
class Batch:
    """What was asked for, in order. categories: names by id, of all that may be in any sample. etag: the same
    for the same bytes, None of what has none."""

    samples: tuple[ReceivedSample, ...]
    categories: dict[int, str]
    versions: Versions
    etag: str | None

    @property
    def pool_version(self) -> str:
        return self.versions.pool

    @property
    def backgrounds_version(self) -> str:
        return self.versions.backgrounds


def read_batch(body: BinaryIO, numbers: range, versions: Versions, etag: str | None) -> Batch:
    """The samples of these numbers from a zip. DamagedAnswer if it is not whole, or has others."""
    with _damage_told(), zipfile.ZipFile(body) as files:
        coco = _annotations(files, numbers, versions)
        plans = [json.loads(line) for line in files.read("plans.jsonl").splitlines()]
        _check_numbers([plan["sample"] for plan in plans], numbers, "plans")
        names = {entry["id"]: entry["name"] for entry in coco["categories"]}
        objects: dict[int, list[Mapping[str, Any]]] = {number: [] for number in numbers}
        for entry in coco["annotations"]:
            objects[entry["image_id"] - 1].append(entry)
        samples = tuple(
            _sample(files, entry, objects[entry["id"] - 1], plan, names)
            for entry, plan in zip(coco["images"], plans, strict=True)
        )
        return Batch(samples, names, versions, etag)


def check_zip(body: BinaryIO, numbers: range, versions: Versions) -> None:
    """DamagedAnswer if a file of the zip is damaged or lacking, or if it has other samples than these."""
    with _damage_told(), zipfile.ZipFile(body) as files:
        if damaged := files.testzip():
            raise DamagedAnswer(f"{damaged} in the answer is damaged")
        held = set(files.namelist())
        for entry in _annotations(files, numbers, versions)["images"]:
            if f"images/{entry['file_name']}" not in held:
                raise DamagedAnswer(f"the answer lacks images/{entry['file_name']}")


def _annotations(files: zipfile.ZipFile, numbers: range, versions: Versions) -> dict[str, Any]:
    coco: dict[str, Any] = json.loads(files.read("annotations.json"))
    _check_numbers([entry["id"] - 1 for entry in coco["images"]], numbers, "images")
    if coco["info"]["pool_version"] != versions.pool:
        raise DamagedAnswer("the answer's files are of another version of the pool than its header")
    return coco


def _check_numbers(found: Sequence[int], numbers: range, what: str) -> None:
    if found != list(numbers):
        raise DamagedAnswer(
            f"the answer has the {what} {_shown(found)}, asked for were {_shown(list(numbers))}"
        )


def _shown(numbers: Sequence[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]} ({len(numbers)})" if numbers else "none"


def _sample(
    files: zipfile.ZipFile,
    entry: Mapping[str, Any],
    objects: Sequence[Mapping[str, Any]],
    plan: dict[str, Any],
    names: Mapping[int, str],
) -> ReceivedSample:
    image = decode(files.read(f"images/{entry['file_name']}"))
    size_hw = (entry["height"], entry["width"])
    if image.shape[:2] != size_hw:
        raise DamagedAnswer(f"image {entry['file_name']} has {image.shape[:2]} pixels, told are {size_hw}")
    labelled = tuple(LabelledObject(names[one["category_id"]], _annotation(one, size_hw)) for one in objects)
    sample = Sample(
        index=entry["id"] - 1,
        height=entry["height"],
        width=entry["width"],
        background_id=entry["background_id"],
        annotations=tuple(one.annotation for one in labelled),
    )
    return ReceivedSample(image, sample, plan, labelled)


def _annotation(entry: Mapping[str, Any], size_hw: tuple[int, int]) -> Annotation:
    """The inverse of `formats.coco.annotation_entry`."""
    x, y, width, height = entry["bbox"]
    segmentation = entry["segmentation"]
    if isinstance(segmentation, list):
        segmentation = _rle_of(segmentation, size_hw)
    if tuple(segmentation["size"]) != size_hw:
        raise DamagedAnswer(f"a mask has {segmentation['size']} pixels, its image {size_hw}")
    return Annotation(
        category_id=entry["category_id"],
        segmentation=segmentation,
        bbox=(x, y, width, height),
        area=entry["area"],
        iscrowd=entry["iscrowd"],
        origin=entry["origin"],
        source_id=entry["source_id"],
        visible_fraction=entry["visible_fraction"],
        z_order=entry["z_order"],
        amodal=entry.get("amodal_segmentation"),
        provenance=entry.get("provenance"),
    )


def _rle_of(polygons: list[list[int]], size_hw: tuple[int, int]) -> dict[str, Any]:
    """Of polygons, which were asked for by output.polygons; they are exact."""
    rle = coco_mask.merge(coco_mask.frPyObjects(polygons, *size_hw))
    return {"size": list(size_hw), "counts": rle["counts"].decode("ascii")}


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise DamagedAnswer(f"the answer is damaged ({type(error).__name__}: {error})") from error
