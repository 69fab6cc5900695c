"""Cut-outs that exist as files, as a pool.

Read are an export of ours (`pool.export`), whose provenance comes back; the index of X-Paste's training code,
{"<class number from 0>": [path, ...]}, where `*path` is an RGBA image that is cleaned already, `path` one
that is not, and `image|mask` a picture and its mask; and a folder with a folder of RGBA images a category.
A file that is not usable is rejected under a reason, and the others go on.

Cleaning keeps one object, as sealing does, and only if its mask is more than 1 % and less than all of the
image. Source: X-Paste, stages B and E. Where we leave its code: a path under two classes belongs to neither
(there the last class wins), and an empty mask is a reason (there it ends the program).
"""

import json
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from xpaste_ray.categories import Category, category_from_coco, name_key
from xpaste_ray.config import CutoutSettings
from xpaste_ray.errors import ConfigError, RowError, StorageError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.masks import object_fraction
from xpaste_ray.pictures.decode import check, decode, decode_rgba
from xpaste_ray.pool.cutout import MASK_ABOVE, Cutout, crop_cutout, cut_out
from xpaste_ray.pool.export import (
    CATEGORIES_FILE,
    CLEANED,
    INDEX_FILE,
    PROVENANCE_FILE,
    PROVENANCE_SCHEMA,
    in_class_order,
)
from xpaste_ray.pool.layout import PROVENANCE
from xpaste_ray.pool.pixels import store_pixels
from xpaste_ray.pool.write import Rejection, Row, check_new, write_pool
from xpaste_ray.records import GIVEN, instance_id
from xpaste_ray.runs import open_parquet, read_json
from xpaste_ray.storage import Location, locate

SOURCE = "import"
MASK_SEPARATOR = "|"

_MIN_AREA_FRACTION = 0.01  # X-Paste, on loading: more than that, and less than all
_SUFFIXES = (".png", ".webp")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of an index. `path` as it stands there; `known`: what an export of ours tells of it."""

    category: Category
    path: str
    cleaned: bool
    known: Row | None = None


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What is to be read. `entries` of which `rejections` are not usable already."""

    folder: Location
    categories: tuple[Category, ...]
    entries: tuple[_Entry, ...]
    rejections: tuple[Rejection, ...]

    @property
    def total(self) -> int:
        return len(self.entries)


def plan_import(given: Location, vocabulary: Sequence[Category] | None = None) -> ImportPlan:
    """Which files there are, and of which categories; no image is read.

    vocabulary: what class numbers and names of folders mean. Without one it is the export's own, that
    beside the index (categories.json), or the folders' names, numbered from 1. ConfigError if there is
    nothing to import, or an index is malformed.
    """
    if given.is_dir():
        if (given / PROVENANCE_FILE).is_file():
            return _planned_export(given, vocabulary)
        if not (given / INDEX_FILE).is_file():
            return _planned_folders(given, vocabulary)
        given = given / INDEX_FILE
    if not given.is_file():
        raise ConfigError(f"{given} does not exist: give a folder of cut-outs, or an index.json")
    return _planned_index(given, vocabulary)


def import_pool(
    plan: ImportPlan,
    folder: Location,
    settings: CutoutSettings,
    tell: Callable[[int], None] = lambda _: None,
) -> tuple[int, Counter[str]]:
    """Write the pool: how many instances, and how many files were rejected by reason.

    tell: is told how many files are done, each time. An image is held in memory at a time, beside the
    record batch that it goes to.
    """
    check_new(folder)
    rejections = list(plan.rejections)
    done = 0

    def rows() -> Iterator[Row]:
        nonlocal done
        names: set[str] = set()
        for entry in plan.entries:
            try:
                row = _row(plan.folder, entry, settings)
                if row["instance_id"] in names:
                    raise RowError("duplicate")
                names.add(row["instance_id"])
                yield row
            except RowError as error:
                rejections.append(_rejection(entry, error.reason))
            done += 1
            tell(done)

    write_pool(folder, rows(), plan.categories, rejections)
    counts = Counter(reason for _, _, _, reason in rejections)
    return len(plan.entries) + len(plan.rejections) - counts.total(), counts


# --- what there is -------------------------------------------------------------------------------


def _planned_export(folder: Location, vocabulary: Sequence[Category] | None) -> ImportPlan:
    own = _categories_in(folder / CATEGORIES_FILE)
    by_name = {name_key(one.name): one for one in (vocabulary or own)}
    try:
        rows = open_parquet(folder / PROVENANCE_FILE).read().cast(PROVENANCE_SCHEMA).to_pylist()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder / PROVENANCE_FILE} is not of this version, or damaged ({error}): export the pool "
            f"again, or give {folder / INDEX_FILE}, to import the images without it"
        ) from None
    entries, rejections = [], []
    for row in rows:
        category = by_name.get(name_key(row["category"]))
        if category is None:
            rejections.append(("proposal", row["instance_id"], row["category"], "unknown_category"))
            continue
        entries.append(_Entry(category, row["file"], True, {name: row[name] for name in PROVENANCE}))
    return ImportPlan(folder, tuple(vocabulary or own), tuple(entries), tuple(rejections))


def _planned_index(file: Location, vocabulary: Sequence[Category] | None) -> ImportPlan:
    if vocabulary is None:
        beside = file.parent / CATEGORIES_FILE
        if not beside.is_file():
            raise ConfigError(
                f"{file} has class numbers only, and there is no {CATEGORIES_FILE} beside it: say what they "
                "mean with --vocabulary, for LVIS's 1,203 categories --vocabulary lvis"
            )
        vocabulary = _categories_in(beside)
    classes = in_class_order(vocabulary)
    entries = []
    for key, paths in sorted(_index_in(file).items(), key=lambda pair: int(pair[0])):
        if int(key) >= len(classes):
            raise ConfigError(
                f"{file}: class number {key}, but the vocabulary has {len(classes)} categories: give the one "
                "that the index was made for with --vocabulary"
            )
        for path in paths:
            cleaned = path.startswith(CLEANED)
            entries.append(_Entry(classes[int(key)], path.removeprefix(CLEANED), cleaned))
    unique, rejections = _each_once(entries, file.parent)
    return ImportPlan(file.parent, tuple(vocabulary), unique, rejections)


def _planned_folders(folder: Location, vocabulary: Sequence[Category] | None) -> ImportPlan:
    files = [name for name in folder.files() if "/" in name and name.lower().endswith(_SUFFIXES)]
    if not files:
        raise ConfigError(
            f"{folder} has no {INDEX_FILE} and no folders with {' or '.join(_SUFFIXES)} files: give a folder "
            "with one folder of RGBA images for each category"
        )
    names = sorted({name.partition("/")[0] for name in files})
    if vocabulary is None:
        vocabulary = [Category(number, name) for number, name in enumerate(names, 1)]
    by_name = {name_key(one.name): one for one in vocabulary}
    entries, rejections = [], []
    for name in files:
        shown = name.partition("/")[0]
        category = by_name.get(name_key(shown))
        if category is None:
            rejections.append(("candidate", name, shown, "unknown_category"))
        else:
            entries.append(_Entry(category, name, cleaned=True))
    entries.sort(key=lambda entry: (entry.category.id, entry.path))
    return ImportPlan(folder, tuple(vocabulary), tuple(entries), tuple(rejections))


def _each_once(
    entries: Iterable[_Entry], folder: Location
) -> tuple[tuple[_Entry, ...], tuple[Rejection, ...]]:
    """A path that is there twice, however it is written, counts once; one under two classes belongs to
    neither."""
    classes: dict[str, set[int]] = {}
    told = [(entry, _plain(entry.path, folder)) for entry in entries]
    for entry, path in told:
        classes.setdefault(path, set()).add(entry.category.id)
    kept, rejections, seen = [], [], set()
    for entry, path in told:
        if len(classes[path]) > 1:
            rejections.append(_rejection(entry, "in_two_categories"))
        elif path in seen:
            rejections.append(_rejection(entry, "duplicate"))
        else:
            kept.append(entry)
        seen.add(path)
    return tuple(kept), tuple(rejections)


def _plain(path: str, folder: Location) -> str:
    """One text for all ways to write a path: "./a.png" in /x is "/x/a.png". To compare, not to open."""
    parts = (
        part if "://" in part else posixpath.join(str(folder), part) for part in path.split(MASK_SEPARATOR)
    )
    return MASK_SEPARATOR.join(map(posixpath.normpath, parts))


def _index_in(file: Location) -> dict[str, list[str]]:
    index = read_json(file)
    for key, paths in index.items():
        is_number = isinstance(key, str) and key.isascii() and key.isdigit()
        if not (is_number and isinstance(paths, list) and all(isinstance(path, str) for path in paths)):
            raise ConfigError(
                f"{file}: {json.dumps(key)[:60]} is not a class number from 0 with a list of paths: give an "
                "index as X-Paste's training code reads it"
            )
    return index


def _categories_in(file: Location) -> tuple[Category, ...]:
    try:
        return tuple(map(category_from_coco, read_json(file)["categories"]))
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{file} has no usable list of categories ({error}): give --vocabulary") from None


def _rejection(entry: _Entry, reason: str) -> Rejection:
    if entry.known:
        return "proposal", entry.known["instance_id"], entry.category.name, reason
    return "candidate", entry.path, entry.category.name, reason


# --- one file ------------------------------------------------------------------------------------


def _row(folder: Location, entry: _Entry, settings: CutoutSettings) -> Row:
    """A row of `layout.INSTANCE_SCHEMA`. RowError."""
    if entry.known:
        if ".." in entry.path.split("/") or posixpath.isabs(entry.path) or "://" in entry.path:
            raise RowError("outside_folder")
        rgba = decode_rgba(_bytes_of(folder, entry.path))
        if rgba[..., 3].max() <= MASK_ABOVE:
            raise RowError("empty_mask")
        head = {**entry.known, "category_id": entry.category.id, "category": entry.category.name}
        return _with_pixels(head, rgba, settings)
    image_path, _, mask_path = entry.path.partition(MASK_SEPARATOR)
    data = _bytes_of(folder, image_path)
    if mask_path:
        mask_data = _bytes_of(folder, mask_path)
        image, mask = _picture(data), _picture(mask_data)[..., 0]
        if image.shape[:2] != mask.shape:
            raise RowError("sizes_differ")
        cutout = _cleaned(image, mask, settings)
    else:
        rgba = decode_rgba(data)
        image, mask, mask_data = rgba[..., :3], np.ascontiguousarray(rgba[..., 3]), b""
        if entry.cleaned:
            cutout = crop_cutout(image, mask, settings.max_side_px)
        else:
            cutout = _cleaned(image, mask, settings)
    return _with_pixels(_head(entry, data, mask_data, mask, cutout), cutout.rgba, settings)


def _cleaned(image: np.ndarray, mask: np.ndarray, settings: CutoutSettings) -> Cutout:
    area = object_fraction(mask)
    if area >= 1:
        raise RowError("area_too_large")
    cutout = cut_out(image, mask, settings)  # an empty mask says so
    if area <= _MIN_AREA_FRACTION:
        raise RowError("area_too_small")
    return cutout


def _head(entry: _Entry, data: bytes, mask_data: bytes, mask: np.ndarray, cutout: Cutout) -> Row:
    """What is known of a file of somebody else's: an id that follows from its category and its bytes, those
    of its mask too. The hash is the picture's alone: cut-outs of one picture are told by it."""
    candidate = f"{entry.category.id}-{hash_bytes(data + mask_data)[:16]}"
    return {
        **dict.fromkeys(PROVENANCE),
        "instance_id": instance_id(candidate, GIVEN, 0),
        "category_id": entry.category.id,
        "category": entry.category.name,
        "candidate_id": candidate,
        "method": GIVEN,
        "ordinal": 0,
        "source": SOURCE,
        "uri": entry.path,
        "content_hash": hash_bytes(data),
        "area_fraction": object_fraction(mask),
        "source_size_hw": list(mask.shape),
        "source_box_xywh": list(cutout.source_box_xywh),
    }


def _with_pixels(head: Row, rgba: np.ndarray, settings: CutoutSettings) -> Row:
    stored = store_pixels(rgba, settings)
    height, width = rgba.shape[:2]
    pixels = {"encoding": stored.encoding, "rgba": stored.data, "alpha": stored.alpha}
    return {**head, "height": height, "width": width, **pixels}


def _bytes_of(folder: Location, path: str) -> bytes:
    """Of a path in an index: absolute, an address, relative to the index, or else to where we are, as
    X-Paste's code has it. RowError "missing_file", "unreadable", and "bad_path" for an address of a kind
    that nothing is read from."""
    absolute = posixpath.isabs(path) or "://" in path
    try:
        places = [locate(path)] if absolute else [folder / path, *([locate(path)] if folder.is_local else [])]
    except ConfigError as error:
        raise RowError("bad_path", str(error)) from None
    reason = "missing_file"
    for place in places:
        with suppress(FileNotFoundError):
            try:
                return place.read_bytes()
            except StorageError:
                if not place.is_local:  # the store fails, and may for every file
                    raise
                reason = reason if place.is_dir() else "unreadable"
    raise RowError(reason)


def _picture(data: bytes) -> np.ndarray:
    check(data)
    return decode(data)
