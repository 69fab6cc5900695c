"""Where backgrounds come from: what is there, and how the bytes of one image are read."""

import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from xpaste_ray.backgrounds.layout import ITEMS
from xpaste_ray.categories import Category
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.pictures import decode as image_files
from xpaste_ray.pictures.headers import MAX_PIXELS, Header, image_format

MAX_FILE_BYTES = 512 * 1024**2

# Files with these endings are taken for images, and rejected with a reason if they are not ours; other
# files (texts, credits, thumbnails' databases) are none of our business. What a file is, its bytes say.
_IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic",
     ".heif", ".jp2", ".fits", ".ppm", ".pgm"]
)  # fmt: skip
_COLOURS = {"black": "#000000", "white": "#ffffff", "grey": "#808080", "gray": "#808080"}
_COLOUR = re.compile(r"(?P<name>#[0-9a-f]{6}|[a-z]+)(?::(?P<width>\d+)x(?P<height>\d+))?")
_COLOUR_SIDE_PX = 640

Stamp = tuple[str, int, int]
"""A file of a listing: name, size in bytes, time of its last change in ns."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of one image are. The last two are for Parquet."""

    path: str
    row_group: int | None = None
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that a source knows without opening an image.

    items: a row of `layout.ITEMS` an image, in source order. `rejected_annotations`: how many could
    not even be given to an image, by reason.
    """

    items: pa.Table
    categories: tuple[Category, ...] = ()
    is_lvis: bool = False
    rejected_annotations: dict[str, int] = field(default_factory=dict)


class Source(Protocol):
    """A place with images. Small and picklable: workers get one each."""

    @property
    def kind(self) -> str: ...

    def state(self) -> dict[str, Any]:
        """What it is and all that shows a change of it, cheap to find out: the key of the cache."""
        ...

    def catalogue(self) -> Catalogue:
        """The work list. ConfigError if there is nothing in it or it contradicts itself."""
        ...

    def fetch(self, places: Sequence[Place]) -> Iterator[bytes | RowError]:
        """The encoded bytes of each image, or why they cannot be had, in the given order."""
        ...

    def check(self, data: bytes) -> Header:
        """Strict. RowError if they are not a usable image."""
        ...

    def decode(self, data: bytes) -> np.ndarray:
        """(H, W, 3) uint8 RGB, contiguous, of bytes that were checked."""
        ...

    def annotation_file(self) -> Path | None:
        """The JSON file that the items' spans point into."""
        ...


class ImageFiles:
    """What sources of JPEG, PNG and WebP files have in common. Subclasses have a `root`."""

    __slots__ = ()
    root: Path

    def fetch(self, places: Sequence[Place]) -> Iterator[bytes | RowError]:
        for place in places:
            try:
                yield _read_image(self.root / place.path)
            except RowError as error:
                yield error

    def check(self, data: bytes) -> Header:
        return image_files.check(data)

    def decode(self, data: bytes) -> np.ndarray:
        return image_files.decode(data)

    def annotation_file(self) -> Path | None:
        return None


@dataclass(frozen=True, slots=True)
class FolderSource(ImageFiles):
    """The images in a folder and the folders below it, in name order. Ids are relative paths."""

    root: Path
    kind: str = "folder"

    def state(self) -> dict[str, Any]:
        return {"root": str(self.root.resolve()), "files": list_images(self.root)}

    def catalogue(self) -> Catalogue:
        names = [name for name, _, _ in list_images(self.root)]
        if not names:
            raise ConfigError(
                f"backgrounds: {self.root} holds no JPEG, PNG or WebP file: give a folder with images"
            )
        return Catalogue(items_table({"id": names, "path": names}))


@dataclass(frozen=True, slots=True)
class ColourSource:
    """Constant colours, an image each. (Black is one of EM-Paste's ablations.)

    colours: "#rrggbb"; size_hw: of all of them.
    """

    colours: tuple[str, ...]
    size_hw: tuple[int, int]
    kind: str = "colours"

    def state(self) -> dict[str, Any]:
        return {"colours": list(self.colours), "size_hw": list(self.size_hw)}

    def catalogue(self) -> Catalogue:
        height, width = self.size_hw
        ids = [f"{colour}:{width}x{height}" for colour in self.colours]
        return Catalogue(items_table({"id": ids, "path": ids}))

    def fetch(self, places: Sequence[Place]) -> Iterator[bytes | RowError]:
        """There is no file: the name of the image is its contents."""
        return (place.path.encode() for place in places)

    def check(self, data: bytes) -> Header:
        return Header("png", self.size_hw, orientation=1, plain=True)

    def decode(self, data: bytes) -> np.ndarray:
        return np.full((*self.size_hw, 3), list(bytes.fromhex(data[1:7].decode())), np.uint8)

    def annotation_file(self) -> Path | None:
        return None


def parse_colours(text: str) -> ColourSource | None:
    """ "black", "#336699", "black,white:640x480" (width x height); None if it is not about colours.

    ConfigError if it is, and wrong.
    """
    matches = [_COLOUR.fullmatch(part) for part in text.lower().split(",")]
    named = [match and _COLOURS.get(match["name"], match["name"]) for match in matches]
    if not all(name and name.startswith("#") for name in named):
        if text.startswith("#"):
            raise ConfigError(f"backgrounds: {text!r} is no colour: write #rrggbb, black, white or grey")
        return None
    last = matches[-1]
    assert last is not None
    if any(match and match["width"] for match in matches[:-1]):
        raise ConfigError(f"backgrounds: {text!r}: give one size, after the last colour")
    size_hw = (int(last["height"] or _COLOUR_SIDE_PX), int(last["width"] or _COLOUR_SIDE_PX))
    if not 0 < size_hw[0] * size_hw[1] <= MAX_PIXELS:
        raise ConfigError(f"backgrounds: {text!r}: the size must be 1 to {MAX_PIXELS} pixels")
    colours = tuple(name for name in named if name)
    if len(set(colours)) < len(colours):
        raise ConfigError(f"backgrounds: {text!r} names a colour twice")
    return ColourSource(colours, size_hw)


def items_table(columns: dict[str, Any]) -> pa.Table:
    """A table of `layout.ITEMS`; columns that are not given are null, or empty lists."""
    rows = len(columns["id"])
    arrays = []
    for column in ITEMS:
        values = columns.get(column.name)
        if values is None:
            values = pa.nulls(rows, column.type) if column.nullable else [[]] * rows
        arrays.append(values if isinstance(values, pa.Array) else pa.array(values, column.type))
    return pa.table(arrays, schema=ITEMS)


def list_images(root: Path) -> list[Stamp]:
    """The image files below a folder in name order, linked folders included, hidden ones not."""
    return list_files(root, _IMAGE_SUFFIXES)


def list_files(root: Path, suffixes: frozenset[str]) -> list[Stamp]:
    """The files with these endings (in lower case) below a folder; names are relative, with "/"."""
    found: list[Stamp] = []
    visited = set()
    folders = [(root, "")]
    while folders:
        folder, prefix = folders.pop()
        try:
            status, entries = folder.stat(), list(os.scandir(folder))
        except OSError as error:
            raise ConfigError(f"backgrounds: {folder} cannot be read ({error.strerror})") from None
        if (status.st_dev, status.st_ino) in visited:
            continue  # a link to a folder that we have been in
        visited.add((status.st_dev, status.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                folders.append((Path(entry.path), f"{prefix}{entry.name}/"))
            elif os.path.splitext(entry.name)[1].lower() in suffixes:  # noqa: PTH122
                found.append(_stamp(entry, f"{prefix}{entry.name}"))
    return sorted(found)


def _stamp(entry: os.DirEntry[str], name: str) -> Stamp:
    # A name that is not UTF-8 cannot be stored: it is escaped, then not found, and so counted.
    name = name.encode("utf-8", "backslashreplace").decode()
    try:
        status = entry.stat()
    except FileNotFoundError:  # a link to nowhere
        return name, 0, 0
    return name, status.st_size, status.st_mtime_ns


def _read_image(path: Path) -> bytes:
    """RowError "missing_file", "file_too_large" or "unsupported_format", before much is read."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
            if head:
                image_format(head)
            size = file.seek(0, io.SEEK_END)
            if size > MAX_FILE_BYTES:
                raise RowError("file_too_large", path.name)
            file.seek(0)
            return file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise RowError("missing_file", path.name) from None
    except OSError as error:
        raise RowError("unreadable", f"{path.name}: {error.strerror}") from None
