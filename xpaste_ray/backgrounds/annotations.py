"""One annotation of COCO or LVIS: from what the file says to an RLE in the upright image's frame."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from xpaste_ray.errors import RowError
from xpaste_ray.formats.rle import rle_runs
from xpaste_ray.pictures.decode import upright
from xpaste_ray.pictures.headers import Header

_POINTS_PER_TRIANGLE = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """The raster that a dataset's annotations of one image are drawn on.

    size_hw: as the dataset has it. orientation: what turns it upright, 1 if it is upright already.
    """

    size_hw: tuple[int, int]
    orientation: int = 1


def frame_of(header: Header, declared_hw: tuple[int, int] | None) -> Frame:
    """Which raster a dataset means. RowError "size_mismatch" if its size is that of neither.

    COCO's tools ignore EXIF, labelling tools in browsers obey it, so both exist. The declared size
    tells them apart; where it fits both (180 degrees, mirrored, square) upright is assumed, and so it
    is where no size is declared.
    """
    if declared_hw is None or declared_hw == header.upright_size_hw:
        return Frame(header.upright_size_hw)
    if declared_hw == header.size_hw:
        return Frame(header.size_hw, header.orientation)
    raise RowError("size_mismatch", f"{declared_hw} is not {header.upright_size_hw}")


def encode_annotation(entry: Mapping[str, Any], frame: Frame) -> dict[str, Any]:
    """A row of `layout.ANNOTATION_SCHEMA`, its mask in the upright frame.

    RowError "no_segmentation" (boxes only), "bad_polygon", "bad_rle", "size_mismatch" or "empty_mask".
    The mask is what pycocotools' `annToMask` gives, but parts of a polygon with fewer than three
    points are left out (pycocotools would take them for boxes).
    """
    rle = _encode(entry.get("segmentation"), frame.size_hw)
    if frame.orientation != 1:
        rle = _rle_of(upright(coco_mask.decode(rle), frame.orientation))
    area = int(coco_mask.area(rle))
    if not area:
        raise RowError("empty_mask")
    x, y, width, height = (int(value) for value in coco_mask.toBbox(rle))
    return {
        "id": entry["id"],
        "category_id": entry["category_id"],
        "iscrowd": int(bool(entry.get("iscrowd", 0))),
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "area": area,
        "counts": rle["counts"],
    }


def _encode(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    """COCO's compressed RLE: {"size": [H, W], "counts": bytes}."""
    if not segmentation:
        raise RowError("no_segmentation")
    if isinstance(segmentation, list):
        polygons = [_checked_polygon(part, size_hw) for part in segmentation]
        polygons = [part for part in polygons if len(part) >= 2 * _POINTS_PER_TRIANGLE]
        if not polygons:
            raise RowError("bad_polygon", "fewer than three points")
        merged: dict[str, Any] = coco_mask.merge(coco_mask.frPyObjects(polygons, *size_hw))
        return merged
    if isinstance(segmentation, dict):
        return _rle_of(_mask_of(segmentation, size_hw))
    raise RowError("no_segmentation")


def _checked_polygon(part: Any, size_hw: tuple[int, int]) -> list[float]:
    """x, y, x, y ... in pixels, finite, and not so far outside that drawing it would take for ever."""
    try:
        values = np.asarray(part, np.float64)
    except (TypeError, ValueError):
        raise RowError("bad_polygon") from None
    reach = 2 * max(size_hw)
    if values.ndim != 1 or len(values) % 2 or not (np.abs(values) <= reach).all():
        raise RowError("bad_polygon")
    coordinates: list[float] = values.tolist()
    return coordinates


def _mask_of(segmentation: Mapping[str, Any], size_hw: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 of an RLE, compressed or not, whatever runs of no pixels it has."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or tuple(size) != size_hw:
        raise RowError("size_mismatch")
    try:
        lengths = rle_runs(counts) if isinstance(counts, str) else np.asarray(counts, np.int64)
    except (TypeError, ValueError, OverflowError):
        raise RowError("bad_rle") from None
    pixels = size_hw[0] * size_hw[1]
    if lengths.ndim != 1 or (lengths < 0).any() or (lengths > pixels).any() or lengths.sum() != pixels:
        raise RowError("bad_rle")
    column_major = np.repeat((np.arange(len(lengths)) % 2).astype(np.uint8), lengths)
    return column_major.reshape(size_hw, order="F")


def _rle_of(mask: np.ndarray) -> dict[str, Any]:
    rle: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask))
    return rle


def declared_size(height: int | None, width: int | None) -> tuple[int, int] | None:
    return None if height is None or width is None else (height, width)
