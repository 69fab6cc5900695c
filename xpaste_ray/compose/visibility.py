"""What can be seen of objects that lie one over another.

It is found from their rectangles alone: a label map of the whole canvas would cost more than most
pastes, in time and in memory, and its type would bound their number.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    """A mask, (h, w) uint8 of 0 and 1, with its corner (y, x) in the image."""

    mask: np.ndarray
    top_left_yx: tuple[int, int]


def visible_masks(below: Sequence[Layer], above: Sequence[Layer]) -> list[np.ndarray]:
    """What is seen of every layer, each in its own rectangle: those `below`, then those `above`.

    Layers above hide what is under them, the later ones also the earlier ones; layers below hide
    nothing. Masks are returned as they are where nothing hides them.
    """
    boxes = [_box(layer) for layer in above]
    seen = [_seen(layer, above, boxes, 0) for layer in below]
    return seen + [_seen(layer, above, boxes, number) for number, layer in enumerate(above, 1)]


def _box(layer: Layer) -> tuple[int, int, int, int]:
    """top, left, bottom, right."""
    (top, left), (height, width) = layer.top_left_yx, layer.mask.shape
    return top, left, top + height, left + width


def _seen(
    layer: Layer, above: Sequence[Layer], boxes: Sequence[tuple[int, int, int, int]], first: int
) -> np.ndarray:
    """The layer's mask without those of `above` from number `first` on."""
    top, left, bottom, right = _box(layer)
    mask = layer.mask
    for number in range(first, len(boxes)):
        other_top, other_left, other_bottom, other_right = boxes[number]
        if other_top >= bottom or other_left >= right or other_bottom <= top or other_right <= left:
            continue
        if mask is layer.mask:
            mask = mask.copy()
        y, x = max(top, other_top), max(left, other_left)
        end_y, end_x = min(bottom, other_bottom), min(right, other_right)
        cover = above[number].mask[y - other_top : end_y - other_top, x - other_left : end_x - other_left]
        np.copyto(mask[y - top : end_y - top, x - left : end_x - left], 0, where=cover.view(np.bool_))
    return mask
