"""How an instance's pixels rest in a pool.

raw: the pixels as they are, row by row; reading them copies nothing. jpeg: a JPEG file of the colours, not
subsampled, and the alpha, zstd-compressed and so without loss: about an eighth of the bytes, decoded at use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from xpaste_ray.config import CutoutSettings

_BLOCK_PX = 8  # JPEG's
_ALPHA_CODEC = pa.Codec("zstd", 1)  # level 9 saves 6 % of the alpha, a tenth of it all, in six times the time


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """encoding: "raw" or "jpeg". data: what it says, of raw a view of the pixels; alpha: only jpeg's."""

    encoding: str
    data: bytes | memoryview
    alpha: bytes | None = None

    def __len__(self) -> int:
        return len(self.data) + len(self.alpha or b"")


def store_pixels(rgba: np.ndarray, settings: CutoutSettings) -> StoredPixels:
    """rgba: (h, w, 4) uint8, colours spread under the edge: a hard one would ring in a JPEG."""
    if settings.encoding == "raw":
        return StoredPixels("raw", rgba.reshape(-1).data)
    alpha = cv2.extractChannel(rgba, 3)
    colours = _calm_where_unseen(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR), alpha)
    options = [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality,
               cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]  # fmt: skip
    ok, data = cv2.imencode(".jpg", colours, options)
    if not ok:
        raise ValueError(f"OpenCV could not encode a cut-out of shape {rgba.shape} as JPEG")
    return StoredPixels("jpeg", bytes(data), _ALPHA_CODEC.compress(alpha.tobytes(), asbytes=True))


def load_pixels(row: Mapping[str, Any]) -> np.ndarray:
    """(h, w, 4) uint8, read-only, of a row of `layout.INSTANCE_SCHEMA`. ValueError or OSError if they are
    damaged."""
    size_hw, data = (row["height"], row["width"]), np.frombuffer(row["rgba"], np.uint8)
    if row["encoding"] == "jpeg":
        return load_jpeg(data, np.frombuffer(row["alpha"] or b"", np.uint8), size_hw)
    return data.reshape(*size_hw, 4)


def load_jpeg(data: np.ndarray, alpha: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(h, w, 4) uint8, read-only, as `raw` pixels are. data, alpha: (n,) uint8.

    ValueError or OSError if they are damaged, or of another size.
    """
    colours = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    if colours is None or colours.shape[:2] != size_hw:
        raise ValueError("its JPEG is damaged")
    height, width = size_hw
    plane = np.frombuffer(_ALPHA_CODEC.decompress(pa.py_buffer(alpha), height * width), np.uint8)
    rgba = cv2.cvtColor(colours, cv2.COLOR_RGB2RGBA)
    cv2.insertChannel(plane.reshape(size_hw), rgba, 3)
    rgba.flags.writeable = False
    return rgba


def _calm_where_unseen(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """One colour for each of JPEG's blocks that no interpolation of the object reaches: a seventh of the
    bytes less. colours: (h, w, 3), alpha: (h, w), both uint8."""
    height, width = alpha.shape
    below, right = -height % _BLOCK_PX, -width % _BLOCK_PX
    padded = cv2.copyMakeBorder(colours, 0, below, 0, right, cv2.BORDER_REPLICATE)
    with_rim = np.ones((_BLOCK_PX + 2, _BLOCK_PX + 2), np.uint8)  # of a block, from its first pixel
    seen = np.ascontiguousarray(cv2.dilate(alpha, with_rim, anchor=(1, 1))[::_BLOCK_PX, ::_BLOCK_PX])
    means = cv2.resize(padded, seen.shape[::-1], interpolation=cv2.INTER_AREA)
    size_wh = (padded.shape[1], padded.shape[0])
    calm, shown = (cv2.resize(plane, size_wh, interpolation=cv2.INTER_NEAREST) for plane in (means, seen))
    return cv2.copyTo(padded, shown, calm)[:height, :width]
