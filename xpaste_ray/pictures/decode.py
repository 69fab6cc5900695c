"""Bytes of a JPEG, PNG or WebP file to (H, W, 3) uint8 RGB, upright.

What is not 8-bit RGB is converted: grey and palettes are spread to RGB, CMYK and YCCK become RGB,
16 bits are scaled to 8 (the low byte goes), transparency is laid over white (as a page shows it),
of an animation the first frame counts, and the EXIF orientation is applied. XMP's is not.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from PIL import Image

from xpaste_ray.errors import RowError
from xpaste_ray.pictures.headers import Header, end_of_jpeg, pixel_chunks, read_header

_FORMATS = ("JPEG", "PNG", "WEBP")
_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_FILLER = bytes(range(1, 251, 7)) * 8  # coded pixels that no image has; no 0xFF


def decode(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB, contiguous and upright.

    RowError with `read_header`'s reasons, or "unreadable". A cut JPEG may come out half grey: only
    `check` notices, so it comes first, once, and a checksum keeps its verdict valid.
    """
    header = read_header(data)
    if header.format == "png":
        data = pixel_chunks(data)
    image = _with_opencv(data) if header.plain else _with_pillow(data)
    if image.shape[:2] != header.size_hw:
        raise RowError("unreadable", "its header contradicts its pixels")
    return upright(image, header.orientation)


def decode_rgba(data: bytes) -> np.ndarray:
    """(H, W, 4) uint8, straight colours and alpha, contiguous and upright, of a PNG or WebP file.

    RowError with `read_header`'s reasons, "truncated", "unreadable", or "no_alpha" if the file has no
    transparency: neither a channel nor a transparent colour.
    """
    header = read_header(data)
    if header.plain or header.format == "jpeg":
        raise RowError("no_alpha")
    with _opened(pixel_chunks(data) if header.format == "png" else data) as image:
        if not image.has_transparency_data:
            raise RowError("no_alpha")
        image.load()
        rgba = np.array(image.convert("RGBA"))
    if rgba.shape[:2] != header.size_hw:
        raise RowError("unreadable", "its header contradicts its pixels")
    return upright(rgba, header.orientation)


def check(data: bytes) -> Header:
    """Decode strictly, once. Returns the header of an image of which every pixel is there.

    RowError with `decode`'s reasons, and "truncated" if the file ends early.
    """
    header = read_header(data)
    if header.format == "jpeg" and not _is_complete_jpeg(data):
        raise RowError("truncated")
    if header.format != "jpeg" and header.plain:
        _with_pillow(pixel_chunks(data) if header.format == "png" else data)  # OpenCV is lenient
    decode(data)
    return header


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation (1 to 8) to an array (H, W, ...); the result is contiguous."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _with_opencv(data: bytes) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    except cv2.error:
        image = None
    if image is None:
        raise RowError("unreadable")
    return image


def _with_pillow(data: bytes) -> np.ndarray:
    """RowError "truncated" if the file ends early, or "unreadable"."""
    with _opened(data) as image:
        image.load()
        return _to_rgb(image)


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Pillow's view of an image whose header was checked; its errors become RowErrors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is a little higher
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                yield image
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise RowError("truncated" if "truncated" in str(error) else "unreadable") from None


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit grey
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        page = Image.new("RGBA", image.size, "white")
        page.alpha_composite(image.convert("RGBA"))
        image = page
    return np.array(image.convert("RGB"))  # not asarray, which is read-only: backgrounds are painted on


def _is_complete_jpeg(data: bytes) -> bool:
    """Whether the coded pixels reach to the end of the image.

    Where they run out, decoders go on with flat grey and say nothing. So more coded pixels are put
    before the end marker: a complete image ignores them, a cut one changes. (Pillow, because OpenCV
    would complain about them on stderr, image by image.) RowError as `_with_pillow`.
    """
    end = end_of_jpeg(data)
    return end is not None and _coded_pixels(data) == _coded_pixels(data[:end] + _FILLER + data[end:])


def _coded_pixels(data: bytes) -> bytes:
    """A JPEG's pixels, colours not converted where that can be spared."""
    with _opened(data) as image:
        image.draft("YCbCr", image.size)
        return image.tobytes()
