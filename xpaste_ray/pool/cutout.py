"""From an image and its soft mask to a tightly cropped cut-out."""

from dataclasses import dataclass

import cv2
import numpy as np

from xpaste_ray.config import CutoutSettings
from xpaste_ray.errors import RowError
from xpaste_ray.masks import BoxXYWH, largest_component, outer_contour, resize_cutout, straight_cutout

OBJECTS = {"outer-contour": outer_contour, "component": largest_component}

MASK_ABOVE = 127  # alpha that counts when a cut-out is pasted

UNUSABLE = ("empty_mask", "cutout_too_small")
"""Why a mask does not become a cut-out."""


@dataclass(frozen=True, slots=True)
class Cutout:
    """rgba: (h, w, 4) uint8, straight colour, spread under the soft edge.

    source_box_xywh: where it was, in the frame of the source image.
    """

    rgba: np.ndarray
    source_box_xywh: BoxXYWH


def cut_out(image: np.ndarray, soft_mask: np.ndarray, settings: CutoutSettings) -> Cutout:
    """Cut one object out of an image: the one that `settings.object` says.

    image: (H, W, 3) uint8 RGB; soft_mask: (H, W) uint8. A mask that is full everywhere is the whole image
    (of the segmenter `full`; the limits of the selection are what keeps it out). RowError: see `crop_cutout`.
    """
    return crop_cutout(image, OBJECTS[settings.object](soft_mask), settings.max_side_px)


def crop_cutout(image: np.ndarray, alpha: np.ndarray, max_side_px: int) -> Cutout:
    """Everything of an image that `alpha` shows, in its tight box.

    image: (H, W, 3) uint8 RGB; alpha: (H, W) uint8. The longer side of the result is at most
    `max_side_px`. RowError "empty_mask", or "cutout_too_small": less than 2 px in a direction, or so thin
    that nothing opaque is left. Source: X-Paste, stage E, which drops cut-outs of 1 px.
    """
    left, top, width, height = cv2.boundingRect(alpha)
    if not width:
        raise RowError("empty_mask")
    without_fringe = (alpha > MASK_ABOVE).astype(np.uint8)
    *_, solid_width, solid_height = cv2.boundingRect(without_fringe)
    if min(solid_width, solid_height) < 2:
        raise RowError("cutout_too_small")
    part = np.s_[top : top + height, left : left + width]
    rgba = straight_cutout(image[part], np.ascontiguousarray(alpha[part]))
    shrink = max_side_px / max(height, width)
    if shrink < 1:
        rgba = resize_cutout(rgba, (max(1, round(height * shrink)), max(1, round(width * shrink))))
    if min(rgba.shape[:2]) < 2 or rgba[..., 3].max() <= MASK_ABOVE:
        raise RowError("cutout_too_small")
    return Cutout(rgba, (left, top, width, height))
