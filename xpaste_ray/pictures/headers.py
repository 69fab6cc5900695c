"""What the first bytes of an image say: format, size, orientation, and whether OpenCV alone will do.

Read before a pixel is allocated, and from the bytes alone: a file's name proves nothing.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from xpaste_ray.errors import RowError

MAX_PIXELS = 100_000_000
MAX_METADATA_BYTES = 16 * 1024**2  # of one compressed text or colour profile, inflated

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_EXIF_MAGIC = b"Exif\0\0"
_ORIENTATION = 0x0112
_SOF = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; Huffman-coded all three
_OTHER_SOF = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)  # lossless, arithmetic, ...
_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_BARE = (0x01, *range(0xD0, 0xD9))  # markers without a payload
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


@dataclass(frozen=True, slots=True)
class Header:
    """size_hw: as stored, before the EXIF orientation (1 to 8) is applied.

    `plain`: OpenCV decodes it to the right 8-bit colours. Others (alpha, 16 bit, CMYK, animations)
    are Pillow's.
    """

    format: Literal["jpeg", "png", "webp"]
    size_hw: tuple[int, int]
    orientation: int
    plain: bool

    @property
    def upright_size_hw(self) -> tuple[int, int]:
        height, width = self.size_hw
        return (width, height) if self.orientation >= 5 else (height, width)


def read_header(data: bytes) -> Header:
    """The header of a JPEG, PNG or WebP file.

    RowError "empty_file", "unsupported_format", "unreadable", "truncated", "too_many_pixels" or
    "oversized_metadata".
    """
    if not data:
        raise RowError("empty_file")
    read = {"jpeg": _read_jpeg, "png": _read_png, "webp": _read_webp}[image_format(data)]
    try:
        header = read(data)
    except (struct.error, IndexError):
        raise RowError("truncated") from None
    height, width = header.size_hw
    if not height or not width:
        raise RowError("unreadable")
    if height * width > MAX_PIXELS:
        raise RowError("too_many_pixels", f"{width} x {height}")
    return header


def image_format(data: bytes) -> Literal["jpeg", "png", "webp"]:
    """By magic bytes; the first 12 are enough. RowError "unsupported_format" for anything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(_PNG_MAGIC):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise RowError("unsupported_format")


def end_of_jpeg(data: bytes) -> int | None:
    """Where the marker is that ends the image; None if the file stops before it."""
    return next((start for code, start, _ in _jpeg_segments(data) if code == _EOI), None)


def pixel_chunks(data: bytes) -> bytes:
    """A PNG reduced to the chunks that make its pixels: no texts, no profiles, no animation.

    What remains of an animated PNG is its first frame, as every other viewer shows it.
    """
    chunks = list(_png_chunks(data))
    if all(kind in _PIXEL_CHUNKS for kind, _, _ in chunks):
        return data
    kept = (data[start : end + 4] for kind, start, end in chunks if kind in _PIXEL_CHUNKS)
    return _PNG_MAGIC + b"".join(kept)


def _read_jpeg(data: bytes) -> Header:
    frame, orientation = None, 1
    for code, start, payload in _jpeg_segments(data):
        if code in _OTHER_SOF:
            raise RowError("unreadable", "a lossless or arithmetic-coded JPEG")
        if code in _SOF and frame is None:
            frame = struct.unpack_from(">BHHB", data, start + 4)
        elif code == _APP1 and payload.startswith(_EXIF_MAGIC):
            orientation = _exif_orientation(payload[len(_EXIF_MAGIC) :])
        elif code in (_SOS, _EOI):
            break
    if frame is None:
        raise RowError("truncated")
    bits, height, width, components = frame
    return Header("jpeg", (height, width), orientation, plain=bits == 8 and components in (1, 3))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(code, start of the marker, payload) of each segment, coded pixels skipped; stops at a cut."""
    position, pattern = 2, _MARKER
    while match := pattern.search(data, position):
        start, code = match.start(), data[match.end() - 1]
        position = match.end()
        payload = b""
        if code not in _BARE and code != _EOI:
            if position + 2 > len(data):
                return
            end = position + struct.unpack_from(">H", data, position)[0]
            payload = data[position + 2 : end]
            position = max(end, position + 2)
        yield code, start, payload
        if code == _EOI:
            return
        pattern = _MARKER_IN_SCAN if code == _SOS else _MARKER


def _read_png(data: bytes) -> Header:
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if data[12:16] != b"IHDR":
        raise RowError("unreadable")
    if height * width > MAX_PIXELS:
        raise RowError("too_many_pixels", f"{width} x {height}")
    orientation, transparent = 1, colour in (4, 6)
    kinds = set()
    for kind, start, end in _png_chunks(data):
        kinds.add(kind)
        if kind == b"eXIf":
            orientation = _exif_orientation(data[start + 8 : end])
        elif kind in (b"zTXt", b"iTXt", b"iCCP"):
            _check_inflated_size(kind, data[start + 8 : end])
    if b"IEND" not in kinds:
        raise RowError("truncated")
    plain = bits <= 8 and not transparent and b"tRNS" not in kinds
    return Header("png", (height, width), orientation, plain)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of the chunk, end of its payload) up to IEND; stops at a cut."""
    position = len(_PNG_MAGIC)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            return
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end + 4


def _check_inflated_size(kind: bytes, payload: bytes) -> None:
    """Refuse a text or profile that is small in the file and huge in memory."""
    _, _, rest = payload.partition(b"\0")
    compressed = rest[1:]  # after the method
    if kind == b"iTXt":
        if rest[:1] != b"\1":
            return
        compressed = rest[2:].split(b"\0", 2)[-1]  # after language and translated keyword
    try:
        inflated = zlib.decompressobj().decompress(compressed, MAX_METADATA_BYTES + 1)
    except zlib.error:
        return  # damaged, and never read
    if len(inflated) > MAX_METADATA_BYTES:
        raise RowError("oversized_metadata", kind.decode())


def _read_webp(data: bytes) -> Header:
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise RowError("truncated")
    size_hw: tuple[int, int] | None = None
    orientation, plain = 1, True
    for kind, payload in _webp_chunks(data):
        if kind == b"VP8X":
            flags = payload[0]
            size_hw = _uint24(payload, 7) + 1, _uint24(payload, 4) + 1
            plain = not flags & 0b00010010  # alpha, animation
        elif kind == b"VP8 " and size_hw is None:
            width, height = struct.unpack_from("<HH", payload, 6)
            size_hw = height & 0x3FFF, width & 0x3FFF
        elif kind == b"VP8L":
            bits = struct.unpack_from("<I", payload, 1)[0]
            size_hw = size_hw or ((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
            plain = plain and not bits >> 28 & 1  # alpha
        elif kind == b"EXIF":
            orientation = _exif_orientation(payload.removeprefix(_EXIF_MAGIC))
    if size_hw is None:
        raise RowError("unreadable")
    return Header("webp", size_hw, orientation, plain)


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def _uint24(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 3], "little")


def _exif_orientation(tiff: bytes) -> int:
    """The orientation tag of an EXIF block; 1 (upright) if there is none or it makes no sense."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, first)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, first + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
