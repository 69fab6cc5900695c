"""PASCAL VOC folders as datasets: their object masks become a COCO file in the user's cache.

SegmentationObject/000007.png holds k on the pixels of the k-th object of Annotations/000007.xml, which names
its category. Without the XML, SegmentationClass/000007.png tells it, by the folder's labelmap.txt or VOC's
own list of twenty. 0 is background, 255 void (65535 in 16 bits).
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from xpaste_ray.backgrounds.dataset import DatasetSource
from xpaste_ray.cache import default_cache_dir, local_copy, only_one
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.formats.voc import CLASSES, IMAGES, LABEL_MAP, OBJECTS, XML, decode_label_png
from xpaste_ray.masks import encode_rle
from xpaste_ray.pictures.headers import read_header
from xpaste_ray.runs import write_whole
from xpaste_ray.storage import Location

_FORMAT = 1  # of the file in the cache
_VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_DECLARES = re.compile(rb"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class VocSource(DatasetSource):
    """A VOC folder's images, with the COCO file that was made of its masks. Another process makes that file
    again where it is not there: on another node, it is not."""

    place: Location | None = None
    cache_dir: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return open_voc, (self.place, "annotations", self.cache_dir)


def is_voc(place: Location) -> bool:
    """Whether a folder has VOC's masks and images in it."""
    return (place / OBJECTS).is_dir() and (place / IMAGES).is_dir()


def open_voc(place: Location, option: str, cache_dir: Path | None = None) -> VocSource:
    """option: where the user named the folder. ConfigError if it has no mask, or a file is damaged."""
    folder = local_copy(place, None, cache_dir)
    stamps = [(part, (place / part).stamps()) for part in (OBJECTS, XML, CLASSES)]
    images = {Path(name).stem: name for name in (place / IMAGES).files()}
    told = {"format": _FORMAT, "folder": str(folder), "images": images, "files": stamps}
    made = (cache_dir or default_cache_dir()) / "voc" / f"{fingerprint(told)}.json"
    if not made.is_file():
        with only_one(made):
            if not made.is_file():
                write_whole(made, json.dumps(_to_coco(folder, images, option)).encode())
    return VocSource(made, folder / IMAGES, place=place, cache_dir=cache_dir)


def _to_coco(folder: Path, images: dict[str, str], option: str) -> dict[str, Any]:
    stems = sorted(path.stem for path in (folder / OBJECTS).glob("*.png"))
    if not stems:
        raise ConfigError(f"{option}: {folder / OBJECTS} has no .png: object masks are what is cut out")
    names = _class_names(folder)
    known: dict[str, int] = {}
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, stem in enumerate(stems, 1):
        if stem not in images:
            raise ConfigError(f"{option}: {folder / OBJECTS / stem}.png has no image in {IMAGES}")
        labels = _labels(folder / OBJECTS / f"{stem}.png", option)
        height, width = labels.shape
        entries.append({"id": number, "file_name": images[stem], "height": height, "width": width})
        for value, name in _objects(folder, stem, labels, names, option):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "iscrowd": 0,
                 "category_id": known.setdefault(name, len(known) + 1),
                 "segmentation": encode_rle(labels == value)}
            )  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in known.items()]
    return {"images": entries, "annotations": annotations, "categories": categories}


def _objects(
    folder: Path, stem: str, labels: np.ndarray, names: Sequence[str], option: str
) -> Iterator[tuple[int, str]]:
    """Value in the object map and name of the category, of each object that has a pixel."""
    void = np.iinfo(labels.dtype).max
    values = [value for value in np.unique(labels).tolist() if value not in (0, void)]
    told = _xml_names(folder / XML / f"{stem}.xml", option)
    classes: np.ndarray | None = None
    for value in values:
        if value <= len(told):
            yield value, told[value - 1]
            continue
        if classes is None:
            classes = _labels(folder / CLASSES / f"{stem}.png", option)
        if classes.shape != labels.shape:
            raise ConfigError(f"{option}: {CLASSES}/{stem}.png and {OBJECTS}/{stem}.png differ in size")
        kind = int(np.bincount(classes[labels == value]).argmax())
        if not 0 < kind <= len(names):
            raise ConfigError(
                f"{option}: {OBJECTS}/{stem}.png has object {value}, of which neither {XML}/{stem}.xml nor "
                f"{CLASSES} with {LABEL_MAP} tells what it is"
            )
        yield value, names[kind - 1]


def _xml_names(path: Path, option: str) -> list[str]:
    """Names of the objects in an XML file, in its order; none if there is no such file."""
    try:
        return names_in_xml(path.read_bytes())
    except FileNotFoundError:
        return []
    except (ValueError, OSError) as error:
        raise ConfigError(f"{option}: {path} is not readable ({error})") from None


def names_in_xml(data: bytes) -> list[str]:
    """Names of the objects in one of VOC's XML files, in its order. ValueError if it cannot be read."""
    if _DECLARES.search(data):
        raise ValueError("it declares entities, which VOC's files do not")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError) as error:  # LookupError: an unknown encoding
        raise ValueError(error) from None
    return [(one.findtext("name") or "").strip() for one in root.findall("object")]


def _class_names(folder: Path) -> Sequence[str]:
    """Of the values of SegmentationClass from 1 on."""
    path = folder / LABEL_MAP
    if not path.is_file():
        return _VOC_NAMES
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split(":")[0] for line in lines if line and not line.startswith("#")][1:]


def _labels(path: Path, option: str) -> np.ndarray:
    """(H, W) uint8 or uint16."""
    try:
        read_header(path.read_bytes())  # its size, before a pixel is allocated
        labels = decode_label_png(path)
    except (RowError, OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"{option}: {path} is not readable ({error})") from None
    if labels.ndim != 2:
        raise ConfigError(f"{option}: {path} is no map of objects: it has colours, and no palette")
    return labels
