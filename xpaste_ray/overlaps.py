"""How much the masks of one image overlap, to the pixel."""

from collections.abc import Sequence

import numpy as np

from xpaste_ray.masks import BoxXYWH, tight_box_xywh
from xpaste_ray.records import OVERLAP_FROM

Overlap = tuple[int, float, float]
"""With the mask at this place: IoU, and the part of this mask's pixels that the other one has."""

_WORD = np.uint64


def overlaps_of(masks: Sequence[np.ndarray]) -> list[tuple[Overlap, ...]]:
    """For each of the masks, (H, W) bool of one shape and none empty, its overlaps with the others by place.

    A pair is left out if its IoU, and the part of either mask that the other one has, are below
    `OVERLAP_FROM`. Both masks of a pair know of it. Pixels are compared 64 at a time, and only where the
    boxes meet.
    """
    boxes = [tight_box_xywh(mask) for mask in masks]
    words = [_words(mask) for mask in masks]
    areas = [int(np.bitwise_count(word).sum(dtype=np.int64)) for word in words]
    found: list[list[Overlap]] = [[] for _ in masks]
    for i in range(len(masks)):
        for j in range(i + 1, len(masks)):
            if not _meet(boxes[i], boxes[j]):
                continue
            shared = int(np.bitwise_count(words[i] & words[j]).sum(dtype=np.int64))
            if shared >= OVERLAP_FROM * min(areas[i], areas[j]):  # IoU is at most the smaller one's part
                iou = shared / (areas[i] + areas[j] - shared)
                found[i].append((j, iou, shared / areas[i]))
                found[j].append((i, iou, shared / areas[j]))
    return [tuple(sorted(one)) for one in found]


def _words(mask: np.ndarray) -> np.ndarray:
    """The mask's bits, padded with zeros to whole words."""
    bits = np.packbits(mask)
    return np.pad(bits, (0, -len(bits) % _WORD().itemsize)).view(_WORD)


def _meet(one: BoxXYWH | None, other: BoxXYWH | None) -> bool:
    if one is None or other is None:
        return False
    (x, y, width, height), (left, top, wide, high) = one, other
    return x < left + wide and left < x + width and y < top + high and top < y + height
