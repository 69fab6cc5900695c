"""How a background becomes the canvas: views of it, and what its masks look like in them."""

from collections.abc import Iterator

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from xpaste_ray.backgrounds import BackgroundAnnotation, Backgrounds
from xpaste_ray.compose.plan import Copied, SizeHW, View
from xpaste_ray.compose.visibility import Layer
from xpaste_ray.config import CanvasSettings


def draw_view(rng: np.random.Generator, size_hw: SizeHW, canvas: CanvasSettings) -> View:
    """A view of a background of `size_hw` by the canvas' rule.

    `lsj` is Large Scale Jittering (Ghiasi et al. 2021): X-Paste, stage H.
    """
    scale = rng.uniform(*canvas.scale)
    places = rng.random(2)
    flip = bool(rng.random() < canvas.flip_probability)
    height, width = size_hw
    if canvas.fit in ("resize", "keep"):
        return View((0, 0, width, height), size_hw if canvas.fit == "keep" else canvas.size_hw, flip)
    fits = min(canvas.size_hw[0] / height, canvas.size_hw[1] / width)
    covers = max(canvas.size_hw[0] / height, canvas.size_hw[1] / width)
    zoom = fits * scale if canvas.fit == "lsj" else covers / scale  # canvas pixels a background pixel
    crop, seen = [], []
    for side, wanted, place in zip(size_hw, canvas.size_hw, places, strict=True):
        taken = min(side, max(1, round(wanted / zoom)))
        crop.append((int(place * (side - taken + 1)), taken))
        seen.append(
            wanted if taken < side or canvas.fit == "crop" else min(wanted, max(1, round(side * zoom)))
        )
    (top, crop_height), (left, crop_width) = crop
    return View((left, top, crop_width, crop_height), (seen[0], seen[1]), flip)


def show(image: np.ndarray, view: View) -> np.ndarray:
    """The view of an image, (h, w, 3) uint8: averaged where it shrinks, bilinear where it grows."""
    left, top, width, height = view.crop_xywh
    part = image[top : top + height, left : left + width]
    if (height, width) != view.size_hw:
        shrinks = height * width > view.size_hw[0] * view.size_hw[1]
        mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        part = cv2.resize(np.ascontiguousarray(part), view.size_hw[::-1], interpolation=mode)
    return part[:, ::-1] if view.flip else part


def show_masks(
    annotations: tuple[BackgroundAnnotation, ...], view: View
) -> Iterator[tuple[BackgroundAnnotation, np.ndarray]]:
    """Annotations of which anything can be seen, with their masks in the view: (h, w) uint8, 0 or 1."""
    left, top, width, height = view.crop_xywh
    for annotation in annotations:
        x, y, w, h = annotation.bbox_xywh
        if x >= left + width or y >= top + height or x + w <= left or y + h <= top:
            continue
        mask = coco_mask.decode(annotation.rle)[top : top + height, left : left + width]
        if (height, width) != view.size_hw:
            mask = cv2.resize(
                np.ascontiguousarray(mask), view.size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT
            )
        mask = mask[:, ::-1] if view.flip else mask
        if mask.any():
            yield annotation, mask


def show_layers(
    annotations: tuple[BackgroundAnnotation, ...], view: View
) -> Iterator[tuple[BackgroundAnnotation, Layer]]:
    """As `show_masks`, each mask in its own rectangle."""
    for annotation, mask in show_masks(annotations, view):
        x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask))
        yield annotation, Layer(np.ascontiguousarray(mask[y : y + height, x : x + width]), (y, x))


def copied_annotations(copied: Copied, backgrounds: Backgrounds) -> tuple[BackgroundAnnotation, ...]:
    """The annotations that are copied, in their own order."""
    found = backgrounds.annotations(backgrounds.row_of_id(copied.background_id))
    return tuple(annotation for annotation in found if annotation.id in copied.annotation_ids)
