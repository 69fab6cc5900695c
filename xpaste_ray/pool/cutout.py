"""From an image and its soft mask to a tightly cropped cut-out."""

from dataclasses import dataclass

import numpy as np

from xpaste_ray.errors import RowError
from xpaste_ray.masks import BoxXYWH, largest_object, resize_cutout, spread_edge_colour, tight_box_xywh


@dataclass(frozen=True, slots=True)
class Cutout:
    """rgba: (h, w, 4) uint8, straight colour, spread under the soft edge.

    source_box_xywh: where it was, in the frame of the source image.
    """

    rgba: np.ndarray
    source_box_xywh: BoxXYWH


def cut_out(image: np.ndarray, soft_mask: np.ndarray, max_side_px: int) -> Cutout:
    """Cut the largest object out of an image.

    image: (H, W, 3) uint8 RGB; soft_mask: (H, W) uint8. The longer side of the result is at most
    `max_side_px`. RowError "empty_mask" or "cutout_too_small" (2 px at least in both directions).
    Source: X-Paste, stage E.
    """
    mask = largest_object(soft_mask)
    box = tight_box_xywh(mask > 0)
    if box is None:
        raise RowError("empty_mask")
    left, top, width, height = box
    alpha = np.ascontiguousarray(mask[top : top + height, left : left + width])
    rgba = np.dstack((spread_edge_colour(image[top : top + height, left : left + width], alpha), alpha))
    shrink = max_side_px / max(height, width)
    if shrink < 1:
        rgba = resize_cutout(rgba, (max(1, round(height * shrink)), max(1, round(width * shrink))))
    if min(rgba.shape[:2]) < 2:
        raise RowError("cutout_too_small")
    return Cutout(rgba, box)
