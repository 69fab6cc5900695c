"""Images to paste on: a folder of photographs, listed and checked once."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.fingerprints import hash_file

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_FORMATS = ("JPEG", "PNG", "WEBP")  # nothing else is opened, whatever a file calls itself
_MAX_PIXELS = 100_000_000


@dataclass(frozen=True, slots=True)
class Background:
    """id: path relative to the folder; size_hw: after EXIF rotation."""

    id: str
    size_hw: tuple[int, int]
    checksum: str


@dataclass(frozen=True, slots=True)
class Backgrounds:
    """The usable images of a folder, in name order, and why the others are not."""

    folder: Path
    images: tuple[Background, ...]
    rejected: tuple[tuple[str, str], ...]  # id, reason

    def __len__(self) -> int:
        return len(self.images)

    def load(self, background_id: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB, EXIF rotation applied. RowError "unreadable_background"."""
        return _decode(self.folder / background_id)


def index_backgrounds(folder: Path) -> Backgrounds:
    """List a folder's JPEG, PNG and WebP images, subfolders included, and decode each once.

    ConfigError if the folder is missing or holds no usable image.
    """
    if not folder.is_dir():
        raise ConfigError(f"backgrounds: {folder} is not a folder: give one with JPEG, PNG or WebP images")
    images, rejected = [], []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES):
        name = path.relative_to(folder).as_posix()
        try:
            _check_header(path)
            height, width = _decode(path).shape[:2]
            images.append(Background(name, (height, width), hash_file(path)))
        except RowError as error:
            rejected.append((name, error.reason))
    if not images:
        found = f"{len(rejected)} unusable files" if rejected else "no JPEG, PNG or WebP file"
        raise ConfigError(f"backgrounds: {folder} holds {found}: give a folder with images")
    return Backgrounds(folder, tuple(images), tuple(rejected))


def _check_header(path: Path) -> None:
    """Refuse other formats and huge images before a pixel is allocated."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise RowError("too_many_pixels") from None
    except (OSError, SyntaxError, ValueError):
        raise RowError("unreadable_background") from None
    if width * height > _MAX_PIXELS:
        raise RowError("too_many_pixels")


def _decode(path: Path) -> np.ndarray:
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise RowError("unreadable_background", path.name)
    return image[..., ::-1]
