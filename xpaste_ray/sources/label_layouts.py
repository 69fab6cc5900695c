"""How people keep images with labels: folders, VOC, COCO and LVIS, lists. Read into one form, `Listed`."""

import posixpath
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xpaste_ray.backgrounds.dataset import (
    annotation_file,
    find_images,
    image_roots,
    is_inside,
    name_of_image,
    not_found_in,
    path_in_root,
    usual_roots,
)
from xpaste_ray.categories import Category, category_from_coco, name_key
from xpaste_ray.config.images import ImagesSettings
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.formats.voc import IMAGES, XML
from xpaste_ray.json_lists import entry_at, list_entries
from xpaste_ray.pictures.files import file_at
from xpaste_ray.sources.folder import PHOTOS, is_hidden
from xpaste_ray.sources.found import count_of, utf8
from xpaste_ray.sources.index_file import SUFFIXES, is_index_file, read_index
from xpaste_ray.sources.shipped import shipped_or_given
from xpaste_ray.sources.voc import names_in_xml
from xpaste_ray.storage import SCHEMES, Location, locate

IMAGE_SETS = "ImageSets"  # VOC's folder of lists: Main/train.txt and the like
SEPARATOR = ";"  # between the categories of a list's row
_FILES_AT_ONCE = 16  # reading them is mostly waiting
_LONGEST_NAME = 255
_NAMED = 5  # in a message
_NAMES_ASKED_FOR = 5  # in an object store: a request each, and for each place where they may be

Label = str | int
"""A category's name; or its id, in data that has categories of its own."""


@dataclass(slots=True)
class Listed:
    """What is told of images before one is opened.

    labels: those of each image, by its uri, which starts at `root`. sizes: bytes of those that are there,
    null where nobody looked. own: categories that the data itself has ids for. origins: licence and page.
    rejected: how many images, labels or rows are of no use, by reason.
    """

    root: Location
    labels: dict[str, set[Label]] = field(default_factory=dict)
    sizes: Mapping[str, int | None] = field(default_factory=dict)
    own: tuple[Category, ...] | None = None
    origins: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def read_labels(settings: ImagesSettings, option: str) -> Listed:
    """What the settings name. option: where they stand, for ConfigError, which says what else to give."""
    place = locate(shipped_or_given(settings.path, "labels.csv"))
    layout = _detect(place, option) if settings.labels == "auto" else settings.labels
    return _LAYOUTS[layout](settings, place, option)


def _detect(place: Location, option: str) -> str:
    if place.is_dir():
        if (place / XML).is_dir() and (place / IMAGES).is_dir():
            return "voc"
        if _dataset_in(place, option) is not None:
            return "coco"
        files = place.files()
        if any("/" in name for name in _photos(files)):
            return "folders"
        found = ", ".join(sorted({name.partition("/")[0] for name in files})[:_NAMED]) or "nothing"
        raise ConfigError(
            f"{option}.path: {place} holds {found}: no folders of images by category, no {XML} beside "
            f"{IMAGES} (VOC), and no COCO or LVIS file. Give the annotation file or the list itself, or say "
            f"what it is with {option}.labels (folders, voc, coco, list)"
        )
    if place.name.lower().endswith(".json"):
        return "coco"
    if is_index_file(place.name):
        return "list"
    if _is_image_set(place):
        return "voc"
    raise ConfigError(
        f"{option}.path: {place} is no folder, and its name is none of a COCO or LVIS file (.json), a list "
        f"({', '.join(SUFFIXES)}) or an image set of VOC's ({IMAGE_SETS}/Main/train.txt): check the path, or "
        f"say what it is with {option}.labels"
    )


# --- a folder for each category ------------------------------------------------------------------


def _read_folders(settings: ImagesSettings, place: Location, option: str) -> Listed:
    if settings.images is not None:
        raise ConfigError(f"{option}.images goes with voc, coco and list: folders hold their images")
    _need_folder(place, option, "a folder of images for each category")
    files = place.files()
    sizes = _photos(files)
    listed = Listed(place, sizes=sizes)
    for name in sizes:
        category, slash, _ = name.partition("/")
        listed.labels[name] = {category} if slash else set()
    if others := sum(not is_hidden(name) for name in files) - len(sizes):
        listed.notes.append(f"{count_of(others, 'file')} left out: not {', '.join(PHOTOS)}")
    return listed


def _photos(files: Mapping[str, int]) -> dict[str, int]:
    """Those of a listing that are images, hidden ones left out."""
    found = {utf8(name): size for name, size in files.items() if not is_hidden(name)}
    return {name: size for name, size in found.items() if name.lower().endswith(PHOTOS)}


def _need_folder(place: Location, option: str, what: str) -> None:
    if not place.is_dir():
        raise ConfigError(f"{option}.path: {place} is no folder: give {what}, or set {option}.labels")


# --- VOC -----------------------------------------------------------------------------------------


def _read_voc(settings: ImagesSettings, place: Location, option: str) -> Listed:
    """Names from the XML of each image. An image without one has no label."""
    wanted = None
    if _is_image_set(place):
        place, wanted = place.parent.parent.parent, _stems_in(place, option)
    _need_folder(place, option, f"one with {IMAGES} and {XML} in it")
    root = place / IMAGES if settings.images is None else locate(settings.images)
    files = {utf8(_stem(name)): name for name in (place / XML).files(".xml") if not is_hidden(name)}
    if not files:
        raise ConfigError(f"{option}.path: {place / XML} has no .xml: those hold VOC's labels")
    sizes = _photos(root.files())
    if wanted is not None:
        files = {stem: name for stem, name in files.items() if stem in wanted}
        sizes = {name: size for name, size in sizes.items() if _stem(name) in wanted}
    image_of = {_stem(name): name for name in sizes}
    listed = Listed(root, {name: set() for name in sizes}, sizes)
    listed.rejected["missing_image"] = len((files.keys() if wanted is None else wanted) - image_of.keys())
    told = {stem: place / XML / name for stem, name in files.items() if stem in image_of}
    with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
        for stem, names in zip(told, threads.map(_names_told, told.values()), strict=True):
            if names is None:
                listed.rejected["unreadable_xml"] += 1
                del listed.labels[image_of[stem]]
            else:
                listed.rejected["unnamed_object"] += names.count("")
                listed.labels[image_of[stem]].update(filter(None, names))
    return listed


def _is_image_set(place: Location) -> bool:
    return place.name.lower().endswith(".txt") and place.parent.parent.name == IMAGE_SETS


def _stems_in(image_set: Location, option: str) -> set[str]:
    """Names of the images in one of VOC's lists, without endings: the first word of each line."""
    try:
        lines = image_set.read_text().splitlines()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option}.path: {image_set} cannot be read ({error}): check the path") from None
    return {words[0] for line in lines if (words := line.split())}


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _names_told(file: Location) -> list[str] | None:
    """None if the file cannot be read."""
    try:
        return names_in_xml(file.read_bytes())
    except (ValueError, FileNotFoundError):
        return None


# --- COCO and LVIS -------------------------------------------------------------------------------


def _read_coco(settings: ImagesSettings, place: Location, option: str) -> Listed:
    file = _dataset_in(place, option) if place.is_dir() else place
    if file is None:
        raise ConfigError(
            f"{option}.path: {place} has no annotations.json beside images/, and no instances_*.json or "
            "lvis_*.json in annotations/: give the annotation file itself"
        )
    content = _Content(file, option)
    images = None if settings.images is None else locate(settings.images)
    root, by_last_part = _root_of(file, images, content.names.values(), option)
    listed = Listed(root, own=tuple(content.categories), rejected=content.rejected)
    uri_of = {}
    for number, name in content.names.items():
        if is_inside(name) and path_in_root(name, by_last_part):
            uri_of[number] = uri = path_in_root(name, by_last_part)
            listed.labels.setdefault(uri, set())
            listed.origins[uri] = content.origin(number)
        else:
            listed.rejected["bad_path"] += 1
    for number, label in content.labels:
        if number in uri_of:
            listed.labels[uri_of[number]].add(label)
        elif number not in content.names:
            listed.rejected["unknown_image"] += 1
    listed.sizes = _sizes(root, listed.labels)
    return listed


class _Content:
    """A COCO or LVIS file, read an entry at a time: of an annotation, only its image and category stay."""

    def __init__(self, file: Location, option: str) -> None:
        self.names: dict[int, str] = {}
        self.labels: set[tuple[int, int]] = set()
        self.categories: list[Category] = []
        self.rejected: Counter[str] = Counter()
        self._licences: dict[Any, str | None] = {}
        self._origins: dict[int, tuple[Any, str | None]] = {}
        try:
            self._read(file.read_bytes().decode("latin-1"))
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            told = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise ConfigError(
                f"{option}.path: {file} is not readable as a COCO or LVIS file ({told})"
            ) from None
        if len({category.id for category in self.categories}) < len(self.categories):
            raise ConfigError(f"{option}.path: {file} has several categories of one id: number them anew")
        if not self.names:
            raise ConfigError(f"{option}.path: {file} has no images: give a COCO or LVIS file")

    def origin(self, image: int) -> tuple[str | None, str | None]:
        """Licence and page of an image, where the file knows them."""
        licence, page = self._origins[image]
        return self._licences.get(licence), page

    def _read(self, text: str) -> None:
        for key, start, end, value in list_entries(text):
            if key == "annotations":
                self.labels.add((_whole(value["image_id"]), _whole(value["category_id"])))
            elif key == "images":
                self._add_image(entry_at(text, start, end))
            elif key == "categories":
                self._add_category(entry_at(text, start, end))
            elif key == "licenses":
                entry = entry_at(text, start, end)
                self._licences[entry.get("id")] = _text(entry.get("url")) or _text(entry.get("name"))

    def _add_image(self, entry: dict[str, Any]) -> None:
        number, name = _whole(entry["id"]), name_of_image(entry)
        if number in self.names:
            raise ValueError(f"image id {number} is there more than once")
        if name is None:
            raise ValueError(f"image {number} has no file_name and no coco_url")
        self.names[number] = utf8(name)
        licence = entry.get("license")
        licence = licence if isinstance(licence, int | str) else None
        self._origins[number] = licence, _text(entry.get("flickr_url"))

    def _add_category(self, entry: dict[str, Any]) -> None:
        name, number = _text(entry["name"]), _whole(entry["id"])
        if name is None or not name_key(name):
            raise ValueError(f"category {number} has no name")
        self.categories.append(category_from_coco(entry | {"name": name}))


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"ids must be whole numbers, got {value!r}")
    return value


def _text(value: Any) -> str | None:
    return utf8(value) if isinstance(value, str) and value else None


def _dataset_in(folder: Location, option: str) -> Location | None:
    """The annotation file of a dataset's folder. ConfigError if it has several."""
    if not folder.is_local:
        beside = folder / "annotations.json"
        return beside if beside.is_file() and (folder / "images").is_dir() else None
    try:
        found = annotation_file(folder.path)
    except ConfigError as error:
        raise ConfigError(f"{option}.path: {error}") from None
    return None if found is None else locate(found)


def _root_of(
    file: Location, images: Location | None, names: Iterable[str], option: str
) -> tuple[Location, bool]:
    """Folder of a dataset's images, and whether they lie there without their folders."""
    if images is not None:
        roots = [images]
    elif file.is_local:
        roots = [locate(root) for root in image_roots(file.path)]
    else:
        roots = usual_roots(file.parent, file.parent.parent, Path(file.name).stem)
    first = [name for name in names if len(name) <= _LONGEST_NAME]  # a disk refuses to look for others
    if not all(root.is_local for root in roots):
        first = sorted(first)[:_NAMES_ASKED_FOR]
    found = find_images(roots, first)
    if found is None:
        text = not_found_in(roots, file).replace("--images DIR", f"{option}.images")
        raise ConfigError(f"{option}.path: {text}")
    return found


# --- lists ---------------------------------------------------------------------------------------


def _read_list(settings: ImagesSettings, place: Location, option: str) -> Listed:
    """Rows of path and category. Several categories of an image: with ; between them, or a row each."""
    table, _, without_path = read_index(place, f"{option}.path", ("path",), ("category", "licence", "page"))
    root = place.parent if settings.images is None else locate(settings.images)
    listed = Listed(root)
    listed.rejected["no_path"] = without_path
    for row in table.to_pylist():
        uri = _normal(row["path"])
        if uri is None:
            listed.rejected["bad_path"] += 1
            continue
        labels = listed.labels.setdefault(uri, set())
        labels.update(filter(None, map(str.strip, (row["category"] or "").split(SEPARATOR))))
        licence, page = listed.origins.get(uri, (None, None))
        listed.origins[uri] = licence or row["licence"], page or row["page"]
    listed.sizes = _sizes(root, listed.labels)
    return listed


def _normal(path: str) -> str | None:
    """The same for the same file; None for an address that is no file's, such as a web page's."""
    scheme, mark, _ = path.partition("://")
    if mark:
        return path if scheme.lower() in SCHEMES else None
    return posixpath.normpath(path) if "\0" not in path else None


# -------------------------------------------------------------------------------------------------


def _sizes(root: Location, uris: Iterable[str]) -> dict[str, int | None]:
    """Bytes of the files that are there. Addresses in an object store are not asked for: whether there is
    something shows when it is read."""
    below = {} if root.is_local else {utf8(name): size for name, size in root.files().items()}
    sizes: dict[str, int | None] = {}
    for uri in uris:
        if uri in below or _is_remote(uri):
            sizes[uri] = below.get(uri)
        elif root.is_local or uri.startswith("/") or "://" in uri:
            with suppress(OSError, ValueError, RowError):  # a name that no file can have is not there either
                status = file_at(root, uri).path.stat()
                if stat.S_ISREG(status.st_mode):
                    sizes[uri] = status.st_size
    return sizes


def _is_remote(uri: str) -> bool:
    return "://" in uri and not uri.lower().startswith("file:")


_LAYOUTS: Mapping[str, Callable[[ImagesSettings, Location, str], Listed]] = {
    "folders": _read_folders,
    "voc": _read_voc,
    "coco": _read_coco,
    "list": _read_list,
}
