"""Masks as polygons: closed rings of integer points, holes bridged into the ring around them.

One ring cannot have a hole, so a hole is joined to its outer ring by a bridge: a line that the ring
walks along twice, there and back. Readers that fill by parity (pycocotools, OpenCV, Pillow) get the
hole back; to readers that take the convex or the outermost line it is filled.
"""

from typing import Any

import cv2
import numpy as np

from xpaste_ray.formats.rle import decode_in_box
from xpaste_ray.formats.shards import Polygons
from xpaste_ray.masks import BoxXYWH
from xpaste_ray.samples import Sample


def polygons_of(sample: Sample) -> Polygons:
    """For each annotation; None for a crowd."""
    return [
        None if annotation.iscrowd else coco_polygons(annotation.segmentation, annotation.bbox)
        for annotation in sample.annotations
    ]


def coco_polygons(segmentation: dict[str, Any], box_xywh: BoxXYWH) -> list[list[int]]:
    """A mask's `edge_polygons` as COCO writes them: flat lists x, y, x, y ... in image pixels."""
    rings = edge_polygons(decode_in_box(segmentation, box_xywh))
    return [(ring + np.array(box_xywh[:2], ring.dtype)).ravel().tolist() for ring in rings]


def edge_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """The edges of a mask's pixels, as COCO draws polygons: pixel (x, y) is the square x..x+1, y..y+1.

    mask: (H, W) bool. Returns one ring of (K, 2) int32 xy points, K >= 4, for each 8-connected part.
    Exact: pycocotools rasterises them to the mask again, pixel by pixel.
    """
    # OpenCV's contours run through pixel centres. On a mask enlarged twofold, pixel x is columns 2x and
    # 2x + 1, so a contour's points lie beside the pixels' edges, and (p + 1) // 2 moves them onto these.
    doubled = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    return [_merge(rings) for rings in _parts(doubled, on_edges=True)]


def pixel_polygon(mask: np.ndarray) -> np.ndarray:
    """The outline of a mask through the centres of its outermost pixels, all its parts in one ring.

    mask: (H, W) bool with at least one true pixel. Returns (K, 2) int32 xy pixel indices, K >= 1. Filled
    by OpenCV (whose lines are part of a polygon) it gives the mask and one-pixel bridges between parts.
    """
    return _merge([ring for rings in _parts(mask.astype(np.uint8), on_edges=False) for ring in rings])


def _parts(mask: np.ndarray, on_edges: bool) -> list[list[np.ndarray]]:
    """The rings of each 8-connected part of a (H, W) uint8 mask: its outline, then its holes."""
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return []
    parts: dict[int, list[np.ndarray]] = {}
    for number, (contour, (_, _, _, parent)) in enumerate(zip(contours, hierarchy[0], strict=True)):
        ring = contour[:, 0]
        parts.setdefault(number if parent < 0 else int(parent), []).append(
            _corners((ring + 1) // 2) if on_edges else ring
        )
    return list(parts.values())


def _corners(ring: np.ndarray) -> np.ndarray:
    """The ring without points that repeat the one before, or lie on the line between their neighbours."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return np.compress(turns, ring, axis=0)


def _merge(rings: list[np.ndarray]) -> np.ndarray:
    """One closed walk along all rings: each is entered from the nearest point of those before it."""
    walk = rings[0]
    for ring in rings[1:]:
        distances = ((walk[:, None] - ring) ** 2).sum(axis=2)  # int32 holds them up to 32,767 pixels
        leave, enter = np.unravel_index(int(distances.argmin()), distances.shape)
        loop = np.concatenate([ring[enter:], ring[: enter + 1]])
        walk = np.concatenate([walk[: leave + 1], loop, walk[leave:]])
    return walk
