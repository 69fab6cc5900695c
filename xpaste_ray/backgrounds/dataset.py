"""A COCO or LVIS dataset: an annotation file and the folder of its images."""

import itertools
import json
import mmap
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from xpaste_ray.backgrounds.sources import Catalogue, ImageFiles, items_table, list_images
from xpaste_ray.categories import Category, category_from_coco
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_file
from xpaste_ray.json_lists import entry_at, list_entries
from xpaste_ray.storage import Location

_NAME = re.compile(rb'"(?:file_name|coco_url)"\s*:\s*("(?:[^"\\]|\\.)*")')
_NAMES_LOOKED_AT = 100
Place = TypeVar("Place", Path, Location)

_LVIS_LISTS = ("neg_category_ids", "not_exhaustive_category_ids")


@dataclass(frozen=True, slots=True)
class DatasetSource(ImageFiles):
    """Images and annotations. Ids are the dataset's names of its images.

    root: folder of the images. by_last_part: names are looked up there without their folders.
    """

    annotations: Path
    root: Path
    by_last_part: bool = False
    kind: str = "dataset"

    def state(self) -> dict[str, Any]:
        return {
            "annotations": [str(self.annotations.resolve()), hash_file(self.annotations)],
            "root": str(self.root.resolve()),
            "by_last_part": self.by_last_part,
            "files": list_images(self.root),
        }

    def annotation_file(self) -> Path | None:
        return self.annotations

    def catalogue(self) -> Catalogue:
        """ConfigError if ids are missing or not unique: one object would stand for another."""
        parsed = _Parsed(self.annotations)
        items, rejected = parsed.items(self._path_of)
        return Catalogue(items, parsed.categories, parsed.is_lvis, rejected)

    def _path_of(self, name: str) -> str:
        return path_in_root(name, self.by_last_part)


def open_dataset(annotations: Path, images: Path | None = None) -> DatasetSource:
    """The source for an annotation file, with its images where `find_images` finds them.

    ConfigError names the places if none of the first images is in any.
    """
    roots = image_roots(annotations, images)
    found = find_images(roots, first_names(annotations))
    if found is None:
        raise ConfigError(f"backgrounds: {not_found_in(roots, annotations)}")
    root, by_last_part = found
    return DatasetSource(annotations, root, by_last_part)


def annotation_file(folder: Path) -> Path | None:
    """The COCO or LVIS file of a folder: `annotations.json` beside `images/`, or in `annotations/`.

    ConfigError if it has several.
    """
    if (folder / "annotations.json").is_file() and (folder / "images").is_dir():
        return folder / "annotations.json"
    found = sorted(
        path
        for pattern in ("instances_*.json", "lvis_*.json")
        for path in folder.glob(f"annotations/{pattern}")
    )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ConfigError(f"{folder} has several annotation files ({names}): give one of them")
    return found[0] if found else None


def image_roots(annotations: Path, images: Path | None = None) -> list[Path]:
    """Where the images of an annotation file may be: in `images`, or else in the usual places.

    COCO, LVIS and labelling tools put them in `images/` beside the file or above it, beside the file
    itself, and in a folder called as the file is (annotations/instances_train2017.json and train2017/).
    """
    if images:
        return [images]
    beside, above = annotations.parent, annotations.resolve().parent.parent
    return usual_roots(beside, above, annotations.stem)


def usual_roots(beside: Place, above: Place, stem: str) -> list[Place]:
    """beside: the folder of an annotation file called so; above: the one that this folder is in."""
    split = re.sub(r"^(instances|lvis_v\d+(\.\d+)?|person_keypoints)_", "", stem)
    return [beside / "images", beside, above / split, above / "images" / split, above / "images", above]


def find_images(roots: list[Place], names: Iterable[str]) -> tuple[Place, bool] | None:
    """The root that has most of the first names, and whether it has them without their folders.

    None if no root has any.
    """
    first = list(itertools.islice(filter(is_inside, names), _NAMES_LOOKED_AT))
    best, hits = None, 0
    for by_last_part, root in itertools.product((False, True), roots):
        found = sum((root / path_in_root(name, by_last_part)).is_file() for name in first)
        if found > hits:
            best, hits = (root, by_last_part), found
    return best


def not_found_in(roots: Sequence[Path | Location], annotations: Path | Location) -> str:
    """What to say when `find_images` finds nothing."""
    tried = ", ".join(str(root) for root in roots)
    return f"none of the first images of {annotations} is in {tried}: say where they are (--images DIR)"


def path_in_root(name: str, by_last_part: bool) -> str:
    return PurePosixPath(name).name if by_last_part else name


def is_inside(name: str) -> bool:
    """Whether a name stays in its folder, whatever the dataset's author had in mind."""
    return not name.startswith("/") and ".." not in name.split("/") and "\0" not in name


def name_of_image(entry: dict[str, Any]) -> str | None:
    """COCO's `file_name`, or the end of LVIS's `coco_url`; None without either."""
    if isinstance(entry.get("file_name"), str):
        name: str = entry["file_name"]
        return name
    return _name_in_url(entry["coco_url"]) if isinstance(entry.get("coco_url"), str) else None


def first_names(annotations: Path) -> list[str]:
    """The names of the first images, without reading the whole file."""
    try:
        with annotations.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            texts = [match[1] for match in itertools.islice(_NAME.finditer(data), 2 * _NAMES_LOOKED_AT)]
        values = [json.loads(text) for text in texts]
    except (OSError, ValueError) as error:
        raise ConfigError(f"backgrounds: {annotations} is not readable ({error})") from None
    # COCO has both for an image, and the URL of its two says less; LVIS has only the URL
    names = [value for value in values if "://" not in value] or [_name_in_url(value) for value in values]
    if not names:
        raise ConfigError(f"backgrounds: {annotations} names no images: give a COCO or LVIS file")
    return names


def _name_in_url(url: str) -> str:
    """LVIS: http://images.cocodataset.org/train2017/000000000009.jpg -> train2017/000000000009.jpg."""
    return "/".join(url.split("/")[-2:])


class _Parsed:
    """An annotation file, read once: images and categories, and where its annotations are.

    Annotations themselves are left in the file: of each only the ids are kept, and its place in bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.images: list[dict[str, Any]] = []
        self.categories: tuple[Category, ...] = ()
        self._ids, self._image_ids, self._category_ids = array("q"), array("q"), array("q")
        self._starts, self._ends = array("q"), array("q")
        try:
            self._read()
        except (OSError, ValueError, OverflowError, RecursionError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"backgrounds: {path} is not readable as JSON ({error})") from None
        self._check_unique()

    @property
    def is_lvis(self) -> bool:
        return any(name in image for image in self.images for name in _LVIS_LISTS)

    def items(self, path_of: Any) -> tuple[pa.Table, dict[str, int]]:
        """The work list, and the annotations that belong to no image or category, by reason."""
        image_ids = np.array([image["id"] for image in self.images], np.int64)
        known_categories = np.array([category.id for category in self.categories], np.int64)
        owners, categories = np.array(self._image_ids), np.array(self._category_ids)
        has_image, has_category = np.isin(owners, image_ids), np.isin(categories, known_categories)
        rejected = Counter(
            unknown_image=int((~has_image).sum()), unknown_category=int((has_image & ~has_category).sum())
        )
        kept = np.flatnonzero(has_image & has_category)
        by_id = np.argsort(image_ids)
        rows = by_id[np.searchsorted(image_ids, owners[kept], sorter=by_id)]
        order = np.argsort(rows, kind="stable")  # by image, in the file's order within one
        kept, rows = kept[order], rows[order]
        offsets = np.searchsorted(rows, np.arange(len(self.images) + 1)).astype(np.int32)
        spans = pa.StructArray.from_arrays(
            [np.array(self._starts)[kept], np.array(self._ends)[kept]], names=["start", "end"]
        )
        present = [np.unique(part).tolist() for part in np.split(categories[kept], offsets[1:-1])]
        columns = self._image_columns(path_of) | {
            "category_ids": present if self.images else [],
            "spans": pa.ListArray.from_arrays(offsets, spans),
        }
        try:
            table = items_table(columns)
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise ConfigError(
                f"backgrounds: {self.path}: an image has a value of a wrong kind ({error})"
            ) from None
        return table, {reason: count for reason, count in rejected.items() if count}

    def _image_columns(self, path_of: Any) -> dict[str, Any]:
        names = [self._name(image) for image in self.images]
        _refuse_repeated(names, "file name", self.path)
        columns: dict[str, Any] = {
            "id": names,
            # an unsafe name leads nowhere: the image counts as missing
            "path": [path_of(name) if is_inside(name) else "" for name in names],
            "image_id": [image["id"] for image in self.images],
            "height": [image.get("height") for image in self.images],
            "width": [image.get("width") for image in self.images],
        }
        if self.is_lvis:
            columns |= {name: [image.get(name, []) for image in self.images] for name in _LVIS_LISTS}
        return columns

    def _name(self, image: dict[str, Any]) -> str:
        name = name_of_image(image)
        if name is None:
            raise ConfigError(
                f"backgrounds: {self.path}: image {image['id']} has no file_name and no coco_url"
            )
        return name

    def _read(self) -> None:
        text = self.path.read_bytes().decode("latin-1")
        for key, start, end, value in list_entries(text):
            if key == "annotations":
                self._add_annotation(value, start, end)
            elif key == "images":
                self.images.append(self._checked_image(entry_at(text, start, end)))
            elif key == "categories":
                self.categories += (self._checked_category(entry_at(text, start, end)),)
        if not self.images:
            raise ConfigError(f"backgrounds: {self.path} has no images: give a COCO or LVIS file")

    def _add_annotation(self, entry: Any, start: int, end: int) -> None:
        try:
            ids = [entry[key] for key in ("id", "image_id", "category_id")]
        except (TypeError, KeyError) as error:
            number = len(self._ids)
            raise ConfigError(f"backgrounds: {self.path}: annotation number {number} lacks {error}") from None
        if not all(type(value) is int for value in ids):
            raise ConfigError(f"backgrounds: {self.path}: ids must be whole numbers, got {ids}")
        for column, value in zip((self._ids, self._image_ids, self._category_ids), ids, strict=True):
            column.append(value)
        self._starts.append(start)
        self._ends.append(end)

    def _checked_image(self, entry: Any) -> dict[str, Any]:
        if not isinstance(entry, dict) or type(entry.get("id")) is not int:
            raise ConfigError(f"backgrounds: {self.path}: an image has no id that is a whole number")
        used = ("id", "file_name", "coco_url", "height", "width", *_LVIS_LISTS)
        return {key: entry[key] for key in used if key in entry}

    def _checked_category(self, entry: Any) -> Category:
        try:
            return category_from_coco(entry)
        except (TypeError, KeyError):
            raise ConfigError(f"backgrounds: {self.path}: a category has no id or name") from None

    def _check_unique(self) -> None:
        _refuse_repeated([image["id"] for image in self.images], "image id", self.path)
        _refuse_repeated([category.id for category in self.categories], "category id", self.path)
        ids = np.sort(np.array(self._ids, np.int64))
        if (ids[1:] == ids[:-1]).any():
            _refuse_repeated(ids.tolist(), "annotation id", self.path)


def _refuse_repeated(values: list[Any], what: str, path: Path) -> None:
    if len(set(values)) < len(values):
        repeated = Counter(values).most_common(1)[0][0]
        raise ConfigError(
            f"backgrounds: {path}: {what} {repeated!r} is there more than once: number them anew"
        )
