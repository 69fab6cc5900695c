"""Pictures that a classifier is shown: an image or a segment of it, in a square of grey."""

import math

import cv2
import numpy as np

from xpaste_ray.masks import OBJECT_ABOVE, BoxXYWH, tight_box_xywh


def segment_picture(
    image: np.ndarray, mask: np.ndarray, side_px: int, erode: float = 0.02, grey: int = 128
) -> np.ndarray:
    """A segment alone on its smallest box, all else grey, padded with grey to a square (EM-Paste, step 1).

    image: (H, W, 3) uint8 RGB. mask: (H, W) uint8, above 128 is object; its outline is moved inwards by
    `erode` of the shorter side of its box, rounded, so that less of what is beside it shows. What nothing
    would be left of stays as it is. Returns (side_px, side_px, 3) uint8. ValueError if the mask does not fit
    the image, or marks nothing.
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(f"a mask of {mask.shape} does not fit an image of {image.shape[:2]}")
    inside = mask > OBJECT_ABOVE
    box = tight_box_xywh(inside)
    if box is None:
        raise ValueError("the mask marks nothing")
    inside, image = _part(inside, box), _part(image, box)
    kept = eroded(inside, round(erode * min(box[2:])))
    smaller = tight_box_xywh(kept)
    if smaller is None:
        kept, smaller = inside, (0, 0, *box[2:])
    kept, image = _part(kept, smaller), _part(image, smaller)
    shown = np.where(kept[..., None], image, np.uint8(grey))
    return in_square(shown, side_px, grey)


def eroded(inside: np.ndarray, radius_px: int) -> np.ndarray:
    """(H, W) bool without what is nearer than `radius_px` to the outside; beyond the frame is outside."""
    if radius_px < 1:
        return inside
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1,) * 2)
    left = cv2.erode(inside.astype(np.uint8), disc, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return left.astype(bool)


def in_square(image: np.ndarray, side_px: int, grey: int = 128) -> np.ndarray:
    """The image in the middle of a grey square, as large as fits: (H, W, 3) -> (S, S, 3) uint8."""
    left, top, width, height = inset_xywh(_size_hw(image), side_px)
    square = np.full((side_px, side_px, 3), grey, np.uint8)
    square[top : top + height, left : left + width] = _resized(image, (height, width))
    return square


def out_of_square(values: np.ndarray, size_hw: tuple[int, int], side_px: int) -> np.ndarray:
    """What was found of `in_square`'s picture, in the frame of its image: the inverse for a map.

    values: (h, w) float32 over the whole square, in any resolution. Returns (H, W) float32, linear between.
    """
    left, top, width, height = inset_xywh(size_hw, side_px)
    square = cv2.resize(values, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    inset = np.ascontiguousarray(square[top : top + height, left : left + width])
    spread: np.ndarray = cv2.resize(inset, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return spread


def inset_xywh(size_hw: tuple[int, int], side_px: int) -> BoxXYWH:
    """Where `in_square` puts an image of that size: its longer side fills the square."""
    height, width = (max(1, round(side * side_px / max(size_hw))) for side in size_hw)
    return (side_px - width) // 2, (side_px - height) // 2, width, height


def _part(pixels: np.ndarray, box: BoxXYWH) -> np.ndarray:
    left, top, width, height = box
    return pixels[top : top + height, left : left + width]


def _size_hw(image: np.ndarray) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _resized(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """By averaging where it shrinks, else linear."""
    shrinks = math.prod(size_hw) < math.prod(image.shape[:2])
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: np.ndarray = cv2.resize(np.ascontiguousarray(image), size_hw[::-1], interpolation=how)
    return resized
