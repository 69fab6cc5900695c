"""Painting a plan. Nothing random happens here."""

from dataclasses import dataclass

import cv2
import numpy as np

from xpaste_ray.backgrounds import BackgroundAnnotation, Backgrounds
from xpaste_ray.compose.blend import paint, prepare
from xpaste_ray.compose.patch import (
    Patch,
    colour_matrix,
    make_patch,
    matching_matrix,
    mean_grey,
    recolour,
)
from xpaste_ray.compose.plan import Copied, PastePlan, Placement
from xpaste_ray.compose.views import copied_annotations, show, show_masks
from xpaste_ray.errors import ConfigError
from xpaste_ray.pool import Pool


@dataclass(frozen=True, slots=True)
class Painted:
    """What was painted under one label.

    mask: (h, w) uint8, 0 or 1, at `top_left_yx` of the canvas and inside it, as if nothing covered
    it; (0, 0) if it lies outside. annotation: what was copied, None for pool instances.
    """

    mask: np.ndarray
    top_left_yx: tuple[int, int]
    annotation: BackgroundAnnotation | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A painted plan.

    image: (H, W, 3) uint8 RGB. labels: (H, W) uint16, 0 for the background, k where the k-th painted
    object (from 1) is on top. painted: the plan's placements in order, then what it copied.
    """

    image: np.ndarray
    labels: np.ndarray
    painted: tuple[Painted, ...]


def render(plan: PastePlan, pool: Pool, backgrounds: Backgrounds) -> Rendered:
    """Paint the placements in order, inside their rectangles only, then the copied objects."""
    canvas = _canvas(plan, backgrounds)
    labels = np.zeros(canvas.shape[:2], np.uint16)
    painted = [
        _paste(canvas, labels, number, placement, plan, pool)
        for number, placement in enumerate(plan.placements, 1)
    ]
    if plan.copied:
        painted += _paste_copied(canvas, labels, len(painted) + 1, plan.copied, backgrounds)
    return Rendered(canvas, labels, tuple(painted))


def _canvas(plan: PastePlan, backgrounds: Backgrounds) -> np.ndarray:
    image = show(backgrounds.load(backgrounds.row_of_id(plan.background_id)), plan.view)
    if plan.view.size_hw == plan.canvas_hw:
        return np.ascontiguousarray(image)
    canvas = np.zeros((*plan.canvas_hw, 3), np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def _paste(
    canvas: np.ndarray, labels: np.ndarray, number: int, placement: Placement, plan: PastePlan, pool: Pool
) -> Painted:
    try:
        instance = pool.instance(pool.row_of_id[placement.instance_id])
    except KeyError:
        raise ConfigError(
            f"the plan of sample {plan.sample} asks for instance {placement.instance_id}, which "
            f"{pool.folder} does not have: render it with the pool that it was planned with"
        ) from None
    patch = make_patch(instance.rgba, placement, plan.mask_rate)
    if placement.blend != "alpha":
        patch = prepare(patch, placement.blend, placement.motion)
    patch = _clipped(patch, labels.shape)
    (top, left), (height, width) = patch.top_left_yx, patch.mask.shape
    if height and width:
        where = (slice(top, top + height), slice(left, left + width))
        part = canvas[where]
        rgb = patch.rgb
        if placement.colour or any(plan.match):
            rgb = _recoloured(patch, part, placement, plan.match)
        paint(part, rgb, patch.alpha, patch.mask, placement.blend)
        np.copyto(labels[where], number, where=patch.mask.view(np.bool_))
    return Painted(patch.mask, patch.top_left_yx)


def _recoloured(
    patch: Patch, part: np.ndarray, placement: Placement, match: tuple[float, float]
) -> np.ndarray:
    rgb = patch.rgb
    if placement.colour:
        rgb = recolour(rgb, colour_matrix(placement.colour, mean_grey(rgb, patch.mask)))
    if any(match):
        rgb = recolour(rgb, matching_matrix(rgb, patch.mask, part, match))
    return rgb


def _paste_copied(
    canvas: np.ndarray, labels: np.ndarray, first: int, copied: Copied, backgrounds: Backgrounds
) -> list[Painted]:
    """Objects at their own places, hard edges. Source: Simple Copy-Paste, X-Paste's `self_copy`."""
    image = show(backgrounds.load(backgrounds.row_of_id(copied.background_id)), copied.view)
    masks = show_masks(copied_annotations(copied, backgrounds), copied.view)
    painted = []
    for number, (annotation, full) in enumerate(masks, first):
        x, y, width, height = cv2.boundingRect(np.ascontiguousarray(full))
        where = (slice(y, y + height), slice(x, x + width))
        mask = np.ascontiguousarray(full[where])
        cv2.copyTo(np.ascontiguousarray(image[where]), mask, canvas[where])
        np.copyto(labels[where], number, where=mask.view(np.bool_))
        painted.append(Painted(mask, (y, x), annotation))
    return painted


def _clipped(patch: Patch, canvas_hw: tuple[int, ...]) -> Patch:
    """The part of the patch that lies on the canvas; of no height or width if nothing does."""
    (top, left), (height, width) = patch.top_left_yx, patch.mask.shape
    first_row, first_column = max(0, -top), max(0, -left)
    end_row, end_column = min(height, canvas_hw[0] - top), min(width, canvas_hw[1] - left)
    if (first_row, first_column, end_row, end_column) == (0, 0, height, width):
        return patch
    part = (
        slice(first_row, max(first_row, end_row)),
        slice(first_column, max(first_column, end_column)),
    )
    corner = (min(max(top, 0), canvas_hw[0]), min(max(left, 0), canvas_hw[1]))
    return Patch(patch.rgb[part], patch.alpha[part], patch.mask[part], corner)
