"""Masks and cut-outs in plain NumPy and OpenCV.

Masks are (H, W); boxes are xywh in pixels with integer corners on pixel edges, as in COCO.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

BoxXYWH = tuple[int, int, int, int]

OBJECT_ABOVE = 128
"""Of a (H, W) uint8 soft mask is object (X-Paste, stages C and E, clean_pool)."""

_OPAQUE_FROM = 250  # such colours are the object's own


def tight_box_xywh(mask: np.ndarray) -> BoxXYWH | None:
    """The smallest box around the true pixels of a (H, W) bool mask; None if there are none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def object_fraction(soft_mask: np.ndarray) -> float:
    """The share of a (H, W) uint8 soft mask that is object."""
    return float(np.mean(soft_mask > OBJECT_ABOVE))


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed RLE of a (H, W) bool mask: {"size": [H, W], "counts": str}."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


@dataclass(frozen=True, slots=True)
class MaskShape:
    """A mask's compressed RLE in the frame of the image, its area, and its tight box."""

    rle: dict[str, Any]
    area: int
    box_xywh: BoxXYWH


def shape_of_part(
    mask: np.ndarray, top_left_yx: tuple[int, int], size_hw: tuple[int, int]
) -> MaskShape | None:
    """What a mask that lies in a rectangle is in the whole image; None if it is empty.

    mask: (h, w) bool or 0/1 uint8, inside an image of `size_hw` at `top_left_yx`. The RLE has the
    bytes of pycocotools' encoding of the whole mask; only the rectangle's pixels are touched.
    """
    if not mask.size:
        return None
    part_height, part_width = mask.shape
    top, left = top_left_yx
    height, width = size_hw
    columns = np.empty((part_width, part_height + 1), np.uint8)  # as COCO scans; a 0 ends each column
    columns[:, -1] = 0
    cv2.transpose(mask.view(np.uint8), dst=columns[:, :-1])
    flat = columns.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        edges = np.concatenate(([0], edges))
    if not len(edges):
        return None
    column, row = np.divmod(edges, part_height + 1)
    first_row, end_row = row[::2], row[1::2]
    x, y = int(column[0]), int(first_row.min())
    box = (left + x, top + y, int(column[-1]) - x + 1, int(end_row.max()) - y)
    area = int((end_row - first_row).sum())
    runs = (left + column) * height + top + row
    if part_height == height:  # a run may go on over the end of a column
        goes_on = np.flatnonzero(runs[2::2] == runs[1:-1:2])
        runs = np.delete(runs, np.concatenate((2 * goes_on + 1, 2 * goes_on + 2)))
    counts = np.empty(len(runs) + (runs[-1] < height * width), np.uint32)
    counts[0] = runs[0]
    np.subtract(runs[1:], runs[:-1], out=counts[1 : len(runs)], casting="unsafe")
    counts[len(runs) :] = height * width - runs[-1]
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return MaskShape({"size": [height, width], "counts": rle["counts"].decode("ascii")}, area, box)


_UNCOMPRESSED = [cv2.IMWRITE_PNG_COMPRESSION, 0, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]


def encode_png(image: np.ndarray, compressed: bool = True) -> bytes:
    """Lossless PNG of (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey, uint8.

    Not compressed, it only holds differences of rows: for a file that compresses its contents itself. With
    Parquet's zstd photographs get no larger, and are written and read several times faster.
    """
    channels = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image
    if image.ndim == 3 and image.shape[2] == 4:
        channels = image[..., [2, 1, 0, 3]]
    ok, data = cv2.imencode(".png", np.ascontiguousarray(channels), [] if compressed else _UNCOMPRESSED)
    if not ok:
        raise ValueError(f"OpenCV could not encode an array of shape {image.shape} as PNG")
    return bytes(data)


def decode_png(data: bytes | memoryview) -> np.ndarray:
    """The inverse of `encode_png`; of any other 8-bit PNG, too. ValueError."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("not a readable PNG")
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def outer_contour(soft_mask: np.ndarray) -> np.ndarray:
    """Keep what lies inside the largest outer contour of a soft mask, by polygon area.

    soft_mask: (H, W) uint8; above 128 is object. Returns (H, W) uint8: the soft mask inside that contour
    grown by one pixel (its soft fringe), 0 elsewhere; all 0 if nothing is above 128. The contour is filled:
    all that it encloses stays as it is, half-transparent parts and islands in holes too, and a hole of 0
    stays one. Source: X-Paste, stage E, which multiplies the soft mask by the filled contour (and cuts the
    fringe off).
    """
    binary = cv2.threshold(soft_mask, OBJECT_ABOVE, 1, cv2.THRESH_BINARY)[1]
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    kept = np.zeros_like(binary)
    if contours:
        cv2.drawContours(kept, [max(contours, key=cv2.contourArea)], -1, 1, thickness=cv2.FILLED)
    return _with_fringe(soft_mask, kept)


def largest_component(soft_mask: np.ndarray) -> np.ndarray:
    """Keep the largest connected part of a soft mask, by pixels; its holes become clear.

    soft_mask: (H, W) uint8; above 128 is object, neighbours by a corner are connected. Returns (H, W)
    uint8: the soft mask on that part grown by one pixel (its soft fringe), 0 elsewhere, so also in what is
    left of its holes; all 0 if nothing is above 128. Of equals the topmost counts, then the leftmost.
    """
    binary = cv2.threshold(soft_mask, OBJECT_ABOVE, 1, cv2.THRESH_BINARY)[1]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    parts = stats[1:]  # the first is what is no object
    if not len(parts):
        return np.zeros_like(soft_mask)
    left, top, area = (parts[:, n] for n in (cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP, cv2.CC_STAT_AREA))
    largest = 1 + int(np.lexsort((left, top, -area))[0])
    return _with_fringe(soft_mask, (labels == largest).view(np.uint8))


def _with_fringe(soft_mask: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The soft mask where `kept`, (H, W) uint8, is 1, and a pixel around."""
    near = cv2.dilate(kept, np.ones((3, 3), np.uint8))
    return cv2.bitwise_and(soft_mask, soft_mask, mask=near)


def straight_cutout(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours and alpha in one array, colours at the edge and outside replaced by the nearest of the object.

    Under a soft edge an image still shows its old background, which would become a halo on a new
    one. rgb: (H, W, 3) uint8, alpha: (H, W) uint8. Returns (H, W, 4) uint8; what `_own_colours` says stays
    as it was, and all does if nothing of the mask is object.
    """
    rgba = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2RGBA)
    own = _own_colours(alpha)
    pixels = rgba.view(np.uint32).ravel()  # a number each: one look-up instead of three
    if own.any():  # label k: nearest to the k-th own pixel, row by row, and its own
        _, labels = cv2.distanceTransformWithLabels(own ^ 1, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        nearest: np.ndarray = labels.ravel()
        own_colours = np.concatenate((pixels[:1], pixels[own.ravel().view(bool)]))
        own_colours.take(nearest, out=pixels, mode="clip")  # "raise" would go by way of a copy
    cv2.insertChannel(np.ascontiguousarray(alpha), rgba, 3)
    return rgba


def _own_colours(alpha: np.ndarray) -> np.ndarray:
    """Where a cut-out shows its own colours, not the background's beside them: (H, W) uint8, 0 or 1.

    That is where it is opaque, and more than two pixels inside of its outline, however soft a mask is there;
    and parts too thin for either, which would else take their colour from somewhere else.
    """
    inside = cv2.threshold(alpha, OBJECT_ABOVE, 1, cv2.THRESH_BINARY)[1]
    core = cv2.erode(inside, np.ones((5, 5), np.uint8))
    core = cv2.bitwise_or(core, cv2.threshold(alpha, _OPAQUE_FROM - 1, 1, cv2.THRESH_BINARY)[1])
    reached = cv2.dilate(core, np.ones((7, 7), np.uint8))
    own: np.ndarray = cv2.bitwise_or(core, cv2.subtract(inside, reached))
    return own


def spread_edge_colour(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The colours of `straight_cutout`, (H, W, 3) uint8."""
    return cv2.cvtColor(straight_cutout(rgb, alpha), cv2.COLOR_RGBA2RGB)


def resize_cutout(rgba: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize a straight (un-premultiplied) cut-out; its colours must be spread under the edge.

    rgba: (h, w, 4) uint8. Bilinear, in halves as long as a direction shrinks by more than two, so that
    every pixel counts: no aliasing, no halo, and several times faster than averaging over fractions.
    """
    height, width = size_hw
    now_height, now_width = rgba.shape[:2]
    while now_height > height or now_width > width:
        now_height = max(height, (now_height + 1) // 2) if now_height > height else now_height
        now_width = max(width, (now_width + 1) // 2) if now_width > width else now_width
        rgba = cv2.resize(rgba, (now_width, now_height), interpolation=cv2.INTER_LINEAR)
    if (now_height, now_width) != (height, width):
        rgba = cv2.resize(rgba, (width, height), interpolation=cv2.INTER_LINEAR)
    return rgba
