"""From what a user writes to a source of backgrounds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpaste_ray.backgrounds.dataset import (
    annotation_file,
    find_images,
    first_names,
    not_found_in,
    open_dataset,
    usual_roots,
)
from xpaste_ray.backgrounds.parquet import has_parquet, open_parquet
from xpaste_ray.backgrounds.sources import Catalogue, FolderSource, Place, Source, list_images, parse_colours
from xpaste_ray.backgrounds.unread import refuse_unread_labels
from xpaste_ray.cache import local_copy, local_file
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.pictures.headers import Header
from xpaste_ray.storage import Location, locate

_NAMES_LOOKED_AT = 5  # a request each, and for each place where they may be
_EMBEDDED_PHOTOS = Path(__file__).resolve().parent.parent / "embedded" / "photos"


def resolve_source(
    text: str | Path,
    images: str | Path | None = None,
    column: str | None = None,
    cache_dir: Path | None = None,
) -> Source:
    """The source that `text` means.

    - "embedded:photos": the few photographs that the package ships.
    - "black", "white", "grey" or "#rrggbb", several with commas, a size after ":" (640x480; 640x640 if
      not given). A folder of that name is written ./black.
    - a COCO or LVIS annotation file (.json), or a folder with `annotations.json` and `images/`, or with
      one instances_*.json or lvis_*.json in `annotations/`. `images` says where its images are.
    - a Parquet file, or a folder of them. `column` names the one with the images.
    - any other folder: its images, without annotations.

    What is in an object store is copied once a node, into `cache_dir` or the user's cache: the file and the
    folder of its images, or the whole folder.

    ConfigError if there is no such thing, if it could be two, or if it is a dataset in another form,
    whose labels would be lost.
    """
    if text == "embedded:photos":
        return FolderSource(_EMBEDDED_PHOTOS)
    colours = parse_colours(text) if isinstance(text, str) else None
    if colours:
        return colours
    place, images_at = locate(text), None if images is None else locate(images)  # workers may stand elsewhere
    return open_place(place, images_at, column, cache_dir)


def open_place(
    place: Location, images: Location | None, column: str | None, cache_dir: Path | None
) -> Source:
    """The source in a folder or file, on a disk or in an object store, see `resolve_source`. ConfigError."""
    if place.is_local and (images is None or images.is_local):
        return _on_disk(place.path, None if images is None else images.path, column)
    return open_copied(place, images, column, cache_dir)


def _on_disk(path: Path, images: Path | None, column: str | None) -> Source:
    if images is not None and not images.is_dir():
        raise ConfigError(f"--images {images} is not a folder")
    if path.suffix.lower() == ".json" and path.is_file():
        return open_dataset(path, images)
    if path.suffix.lower() == ".parquet" and path.is_file():
        return open_parquet(path, column)
    if not path.is_dir():
        raise ConfigError(
            f"backgrounds: {path} is not a folder, a COCO or LVIS file (.json), a Parquet file or a colour"
        )
    annotations = annotation_file(path)
    if annotations:
        return open_dataset(annotations, images)
    refuse_unread_labels(path)
    if images is not None:
        raise ConfigError(f"--images goes with an annotation file, and {path} has none")
    if not has_parquet(path):
        return FolderSource(path)
    if list_images(path):
        raise ConfigError(f"backgrounds: {path} holds both images and Parquet files: give one kind")
    return open_parquet(path, column)


@dataclass(frozen=True, slots=True)
class CopiedSource:
    """What is in an object store, read from this node's copy of it.

    Another process gets the address and the names of the copies: on another node, it copies first.
    """

    copy: Source
    place: Location
    images: Location | None
    column: str | None
    cache_dir: Path | None
    versions: tuple[str | None, str | None]  # of the copies of `place` and of `images`

    def __reduce__(self) -> tuple[Any, ...]:
        return open_copied, (self.place, self.images, self.column, self.cache_dir, self.versions)

    @property
    def kind(self) -> str:
        return self.copy.kind

    def state(self) -> dict[str, Any]:
        return self.copy.state()

    def catalogue(self) -> Catalogue:
        return self.copy.catalogue()

    def fetch(self, places: Sequence[Place]) -> Iterator[bytes | RowError]:
        return self.copy.fetch(places)

    def check(self, data: bytes) -> Header:
        return self.copy.check(data)

    def decode(self, data: bytes) -> np.ndarray:
        return self.copy.decode(data)

    def annotation_file(self) -> Path | None:
        return self.copy.annotation_file()


def open_copied(
    place: Location,
    images: Location | None,
    column: str | None,
    cache_dir: Path | None,
    versions: tuple[str | None, str | None] = (None, None),
) -> CopiedSource:
    """The source for a place of which a part is in an object store. ConfigError if it is not there."""
    is_file = place.name.lower().endswith((".json", ".parquet"))
    try:
        if is_file:
            path = local_file(place, cache_dir, versions[0])
            version = path.parent.name
        else:
            path = local_copy(place, None, cache_dir, versions[0])
            version = path.name
        if images is None and path.suffix.lower() == ".json":
            images = _remote_images(place, path)
        images_path = None if images is None else local_copy(images, None, cache_dir, versions[1])
        source = _on_disk(path, images_path, column)
    except FileNotFoundError as error:
        raise ConfigError(f"backgrounds: {error.filename} does not exist: check the address") from None
    except ConfigError as error:
        raise ConfigError(f"backgrounds: {place}, copied to this node: {error}") from None
    return CopiedSource(
        source, place, images, column, cache_dir, (version, images_path.name if images_path else None)
    )


def _remote_images(annotations: Location, copy: Path) -> Location:
    """Where the images of an annotation file are, found by a few of its names."""
    roots = usual_roots(annotations.parent, annotations.parent.parent, copy.stem)
    found = find_images(roots, first_names(copy)[:_NAMES_LOOKED_AT])
    if found is None:
        raise ConfigError(not_found_in(roots, annotations))
    return found[0]
