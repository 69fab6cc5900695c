"""How a background becomes the canvas: views of it, and what its masks look like in them."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from xpaste_ray.backgrounds import AnyBackgrounds, BackgroundAnnotation
from xpaste_ray.compose.plan import Copied, SizeHW, View
from xpaste_ray.compose.visibility import Layer
from xpaste_ray.config import CanvasSettings
from xpaste_ray.formats.rle import decode_in_box
from xpaste_ray.masks import BoxXYWH


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


def show_layers(
    annotations: tuple[BackgroundAnnotation, ...], view: View
) -> Iterator[tuple[BackgroundAnnotation, Layer]]:
    """The annotations of which any pixel lies in the crop, with their masks in the view.

    Masks are in their own tight rectangles; one that shrinks to nothing is there with an empty mask.
    They have the pixels of cv2.resize's INTER_NEAREST_EXACT of the whole mask, but only the object's own
    box is decoded: photos have dozens of small objects, and their whole masks would cost more than
    everything else.
    """
    if not annotations:
        return
    left, top, width, height = view.crop_xywh
    rows, columns = _axis(height, view.size_hw[0]), _axis(width, view.size_hw[1])
    resized = (height, width) != view.size_hw
    for annotation in annotations:
        x, y, w, h = _intersection(annotation.bbox_xywh, view.crop_xywh)
        if w <= 0 or h <= 0:
            continue
        mask = decode_in_box(annotation.rle, (x, y, w, h)).view(np.uint8)
        if not mask.any():
            continue
        first_row, end_row = rows.firsts[y - top], rows.firsts[y - top + h]
        first_column, end_column = columns.firsts[x - left], columns.firsts[x - left + w]
        if resized:
            shown_rows = rows.sources[first_row:end_row] - (y - top)
            shown_columns = columns.sources[first_column:end_column] - (x - left)
            mask = _gathered(mask, shown_rows, shown_columns)
        if view.flip:
            mask, first_column = mask[:, ::-1], view.size_hw[1] - end_column
        yield annotation, _tight(mask, (first_row, first_column))


class _Axis(NamedTuple):
    """One direction of a view of `side` pixels. sources: which of them each seen pixel shows, ascending.

    firsts: for each of them, and for `side`, the first seen pixel that shows it or a later one.
    """

    sources: np.ndarray
    firsts: list[int]


def _axis(side: int, seen: int) -> _Axis:
    sources = numbers = np.arange(side, dtype=np.int32)
    if side != seen:  # OpenCV itself is asked
        sources = cv2.resize(numbers[None], (seen, 1), interpolation=cv2.INTER_NEAREST_EXACT)[0]
    return _Axis(sources, np.searchsorted(sources, np.arange(side + 1)).tolist())


def _gathered(mask: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """mask[rows][:, columns] of a mask whose columns are contiguous, several times faster."""
    if not len(rows) or not len(columns):
        return np.zeros((len(rows), len(columns)), np.uint8)
    gathered: np.ndarray = cv2.transpose(mask.T[columns])[rows]
    return gathered


def _intersection(box: BoxXYWH, other: BoxXYWH) -> BoxXYWH:
    """Of no or negative width or height if they do not meet."""
    left, top = max(box[0], other[0]), max(box[1], other[1])
    right, bottom = min(box[0] + box[2], other[0] + other[2]), min(box[1] + box[3], other[1] + other[3])
    return left, top, right - left, bottom - top


def _tight(mask: np.ndarray, top_left_yx: tuple[int, int]) -> Layer:
    """The layer cut to its pixels; of no height and width if there are none."""
    if not mask.size:
        return Layer(np.zeros((0, 0), np.uint8), top_left_yx)
    mask = np.ascontiguousarray(mask)
    x, y, width, height = cv2.boundingRect(mask)
    corner = (top_left_yx[0] + y, top_left_yx[1] + x)
    return Layer(np.ascontiguousarray(mask[y : y + height, x : x + width]), corner)


def copied_annotations(copied: Copied, backgrounds: AnyBackgrounds) -> tuple[BackgroundAnnotation, ...]:
    """The annotations that are copied, in their own order."""
    found = backgrounds.annotations(backgrounds.row_of_id(copied.background_id))
    return tuple(annotation for annotation in found if annotation.id in copied.annotation_ids)
