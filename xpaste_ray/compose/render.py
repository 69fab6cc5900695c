"""Painting a plan. Nothing random happens here."""

from dataclasses import dataclass

import cv2
import numpy as np

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.compose.plan import PastePlan, Placement
from xpaste_ray.masks import resize_cutout
from xpaste_ray.pool import Pool

_OPAQUE = 128  # alpha from here on belongs to the instance's mask


@dataclass(frozen=True, slots=True)
class Rendered:
    """A painted plan.

    image: (S, S, 3) uint8 RGB. labels: (S, S) uint16, 0 for the background, k for the plan's k-th
    placement (from 1) where it is on top. full_areas: mask pixels of each placement inside the
    image, as if nothing covered it.
    """

    image: np.ndarray
    labels: np.ndarray
    full_areas: tuple[int, ...]


def render(plan: PastePlan, pool: Pool, backgrounds: Backgrounds) -> Rendered:
    """Paint the placements in order, alpha-blended, inside their rectangles only."""
    canvas = _background(plan, backgrounds)
    labels = np.zeros(canvas.shape[:2], np.uint16)
    areas = [
        _paste(canvas, labels, number, placement, pool) for number, placement in enumerate(plan.placements, 1)
    ]
    return Rendered(canvas, labels, tuple(areas))


def _background(plan: PastePlan, backgrounds: Backgrounds) -> np.ndarray:
    left, top, width, height = plan.crop_xywh
    crop = backgrounds.load(plan.background_id)[top : top + height, left : left + width]
    mode = cv2.INTER_AREA if width > plan.side_px else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(crop), (plan.side_px, plan.side_px), interpolation=mode)


def _paste(canvas: np.ndarray, labels: np.ndarray, number: int, placement: Placement, pool: Pool) -> int:
    """Paint one instance; returns its mask's pixels inside the image."""
    instance = pool.instance(pool.row_of_id[placement.instance_id])
    rgb, alpha = resize_cutout(instance.rgb, instance.alpha, placement.size_hw)
    if placement.flip:
        rgb, alpha = rgb[:, ::-1], alpha[:, ::-1]
    target, source = _overlap(placement, labels.shape)
    rgb, alpha = rgb[source], alpha[source]
    weight = alpha[..., None].astype(np.uint16)
    blended = rgb * weight + canvas[target] * (255 - weight)
    canvas[target] = ((blended + 127) // 255).astype(np.uint8)
    opaque = alpha >= _OPAQUE
    labels[target][opaque] = number
    return int(np.count_nonzero(opaque))


def _overlap(
    placement: Placement, canvas_hw: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of the placement that lies on the canvas, in canvas and in instance pixels."""
    target, source = [], []
    for start, size, canvas in zip(placement.top_left_yx, placement.size_hw, canvas_hw, strict=True):
        low = min(max(start, 0), canvas)
        high = max(min(start + size, canvas), low)
        target.append(slice(low, high))
        source.append(slice(low - start, high - start))
    return (target[0], target[1]), (source[0], source[1])
