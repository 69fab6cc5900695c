"""Image files: how they are encoded, what they are called, and whether they are whole."""

import threading
from dataclasses import dataclass

import cv2
import numpy as np

from xpaste_ray.config import ImageFormat, OutputSettings, Subsampling
from xpaste_ray.errors import ConfigError
from xpaste_ray.pictures.decode import check

_SUFFIX: dict[str, str] = {"jpeg": ".jpg", "webp": ".webp", "png": ".png"}
_SAMPLING_FACTOR: dict[str, int] = {
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEncoding:
    """How images are stored. `subsampling` (of colour) is JPEG's; PNG, without loss, has no quality."""

    format: ImageFormat = "jpeg"
    quality: int = 95  # OpenCV's own default for JPEG
    subsampling: Subsampling = "4:2:0"

    def __post_init__(self) -> None:
        if self.format not in _SUFFIX:
            raise ConfigError(f"image format must be one of {', '.join(_SUFFIX)}, got {self.format!r}")
        if not 1 <= self.quality <= 100:
            raise ConfigError(f"image quality must be from 1 to 100, got {self.quality}")
        if self.subsampling not in _SAMPLING_FACTOR:
            allowed = ", ".join(_SAMPLING_FACTOR)
            raise ConfigError(f"subsampling must be one of {allowed}, got {self.subsampling!r}")

    @property
    def suffix(self) -> str:
        return _SUFFIX[self.format]


def encoding_of(output: OutputSettings) -> ImageEncoding:
    return ImageEncoding(format=output.image, quality=output.quality, subsampling=output.subsampling)


def encode_image(rgb: np.ndarray, encoding: ImageEncoding) -> bytes:
    """rgb: (H, W, 3) uint8. The same pixels give the same bytes."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR, dst=_scratch(rgb.shape))
    ok, data = cv2.imencode(encoding.suffix, bgr, _parameters(encoding))
    if not ok:
        raise ValueError(f"OpenCV could not encode an array of shape {rgb.shape} as {encoding.format}")
    return data.tobytes()


_SCRATCH = threading.local()


def _scratch(shape: tuple[int, ...]) -> np.ndarray:
    """A buffer of this thread, used again for images of one size: new memory costs more than the copy."""
    buffer = getattr(_SCRATCH, "buffer", None)
    if buffer is None or buffer.shape != shape:
        buffer = _SCRATCH.buffer = np.empty(shape, np.uint8)
    return buffer


def _parameters(encoding: ImageEncoding) -> list[int]:
    if encoding.format == "webp":
        return [cv2.IMWRITE_WEBP_QUALITY, encoding.quality]
    if encoding.format == "png":
        return []  # OpenCV's defaults (level 1, run lengths): naming a level makes it three times slower
    factor = _SAMPLING_FACTOR[encoding.subsampling]
    return [cv2.IMWRITE_JPEG_QUALITY, encoding.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]


def sample_name(index: int) -> str:
    """What every file of a sample is called, without a suffix."""
    return f"{index:06d}"


def image_name(index: int, encoding: ImageEncoding) -> str:
    return sample_name(index) + encoding.suffix


def checked_size_hw(data: bytes) -> tuple[int, int]:
    """(height, width) as stored, of a JPEG, PNG or WebP file of which every pixel is there.

    A header alone would not tell: of a file cut in half it is whole, and readers fill the rest with grey.
    RowError with `check`'s reasons.
    """
    return check(data).size_hw
