"""What CLIP is shown of a proposal.

image: (H, W, 3) uint8 RGB. mask: (H, W) uint8, 0 to 255; above 128 is object (X-Paste, stage C).
"""

from collections.abc import Callable

import cv2
import numpy as np

from xpaste_ray.config.score import View
from xpaste_ray.masks import OBJECT_ABOVE, tight_box_xywh


def view_of(view: View, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 RGB, maybe the image itself. ValueError if the mask does not fit, or marks nothing that
    could be cropped."""
    if mask.shape != image.shape[:2]:
        raise ValueError(f"a mask of {mask.shape} does not fit an image of {image.shape[:2]}")
    return _VIEWS[view](image, mask > OBJECT_ABOVE)


def on_colour(image: np.ndarray, is_object: np.ndarray, value: int) -> np.ndarray:
    """The object alone, in full frame; `value` in all three channels elsewhere. is_object: (H, W) bool."""
    painted: np.ndarray = cv2.copyTo(image, is_object.view(np.uint8), np.full(image.shape, value, np.uint8))
    return painted


def box_of(image: np.ndarray, is_object: np.ndarray) -> np.ndarray:
    """The object's tight box of the image, with what else is in it."""
    box = tight_box_xywh(is_object)
    if box is None:
        raise ValueError("the mask marks nothing")
    left, top, width, height = box
    return image[top : top + height, left : left + width]


_VIEWS: dict[View, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "white": lambda image, is_object: on_colour(image, is_object, 255),
    "black": lambda image, is_object: on_colour(image, is_object, 0),
    "crop": box_of,
    "image": lambda image, is_object: image,
}
