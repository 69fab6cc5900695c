"""Masks and cut-outs in plain NumPy and OpenCV.

Masks are (H, W); boxes are xywh in pixels with integer corners on pixel edges, as in COCO.
"""

from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

BoxXYWH = tuple[int, int, int, int]


def tight_box_xywh(mask: np.ndarray) -> BoxXYWH | None:
    """The smallest box around the true pixels of a (H, W) bool mask; None if there are none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed RLE of a (H, W) bool mask: {"size": [H, W], "counts": str}."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def encode_png(image: np.ndarray) -> bytes:
    """Lossless PNG of (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey, uint8."""
    channels = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image
    if image.ndim == 3 and image.shape[2] == 4:
        channels = image[..., [2, 1, 0, 3]]
    ok, data = cv2.imencode(".png", np.ascontiguousarray(channels))
    if not ok:
        raise ValueError(f"OpenCV could not encode an array of shape {image.shape} as PNG")
    return bytes(data)


def decode_png(data: bytes) -> np.ndarray:
    """The inverse of `encode_png` for RGB and grey."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("not a readable PNG")
    return image if image.ndim == 2 else image[..., ::-1]


def largest_object(soft_mask: np.ndarray) -> np.ndarray:
    """Keep one object of a soft mask: what lies inside its largest outer contour by polygon area.

    soft_mask: (H, W) uint8; above 128 is object. Returns (H, W) uint8: the soft mask inside that
    contour grown by one pixel (its soft fringe), 0 elsewhere; all 0 if nothing is above 128. Holes
    keep their soft values. Source: X-Paste, stage E (the paper's code cuts the fringe off).
    """
    binary = (soft_mask > 128).astype(np.uint8)
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.zeros_like(soft_mask)
    kept = np.zeros_like(binary)
    cv2.drawContours(kept, [max(contours, key=cv2.contourArea)], -1, 1, thickness=cv2.FILLED)
    near = cv2.dilate(kept, np.ones((3, 3), np.uint8)) == 1
    return np.where(near, soft_mask, np.uint8(0))


def spread_edge_colour(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Replace colours outside the opaque part by the nearest opaque colour.

    Under a soft edge an image still shows its old background, which would become a halo on a new
    one. rgb: (H, W, 3) uint8, alpha: (H, W) uint8. Returns (H, W, 3) uint8, the opaque part as it was.
    """
    opaque = alpha >= 250
    if not opaque.any():
        opaque = alpha >= max(1, int(alpha.max()))
    seeds = np.where(opaque, 0, 1).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colour_of = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    colour_of[labels[opaque]] = rgb[opaque]
    return np.where(opaque[..., None], rgb, colour_of[labels])


def resize_cutout(
    rgb: np.ndarray, alpha: np.ndarray, size_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Resize a straight (un-premultiplied) cut-out; its colours must be spread under the edge.

    Area averaging when it shrinks, bilinear when it grows: no aliasing, no halo.
    """
    height, width = size_hw
    shrinks = height * width < alpha.shape[0] * alpha.shape[1]
    mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return (
        cv2.resize(rgb, (width, height), interpolation=mode),
        cv2.resize(alpha, (width, height), interpolation=mode),
    )
