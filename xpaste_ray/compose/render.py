"""Painting a plan. Nothing random happens here."""

from dataclasses import dataclass

import cv2
import numpy as np

from xpaste_ray.backgrounds import AnyBackgrounds, BackgroundAnnotation
from xpaste_ray.compose.blend import paint, prepare
from xpaste_ray.compose.lookup import background_row, copied_objects, instance_row
from xpaste_ray.compose.patch import (
    Patch,
    colour_matrix,
    make_patch,
    matching_matrix,
    mean_grey,
    recolour,
)
from xpaste_ray.compose.plan import Copied, PastePlan, Placement, SizeHW
from xpaste_ray.compose.views import show, show_layers
from xpaste_ray.compose.visibility import Layer
from xpaste_ray.pool import Pool


@dataclass(frozen=True, slots=True)
class Painted:
    """One painted object.

    layer: its mask, inside the view, as if nothing covered it; of no height or width if it lies
    outside. outside_area: pixels of its mask that lie outside. annotation: what was copied, None for
    pool instances.
    """

    layer: Layer
    outside_area: int = 0
    annotation: BackgroundAnnotation | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A painted plan.

    image: (H, W, 3) uint8 RGB. painted: the plan's placements in order, then what it copied; later ones
    lie over earlier ones.
    """

    image: np.ndarray
    painted: tuple[Painted, ...]


def render(plan: PastePlan, pool: Pool | None, backgrounds: AnyBackgrounds) -> Rendered:
    """Paint the placements in order, inside their rectangles only, then the copied objects.

    Placements end at the border of the background's view, also where copied objects need a larger canvas:
    they are pasted first (X-Paste, `both`).

    ConfigError if pool or backgrounds are not those of the plan.
    """
    canvas = _canvas(plan, backgrounds)
    painted = [_paste(canvas, placement, plan, pool) for placement in plan.placements]
    if plan.copied:
        painted += _paste_copied(canvas, plan, plan.copied, backgrounds)
    return Rendered(canvas, tuple(painted))


def _canvas(plan: PastePlan, backgrounds: AnyBackgrounds) -> np.ndarray:
    row = background_row(plan, plan.background_id, plan.view, backgrounds)
    image = show(backgrounds.load(row), plan.view)
    if plan.view.size_hw == plan.canvas_hw:
        return np.ascontiguousarray(image)
    canvas = np.zeros((*plan.canvas_hw, 3), np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    return canvas


def _paste(canvas: np.ndarray, placement: Placement, plan: PastePlan, pool: Pool | None) -> Painted:
    pool, row = instance_row(plan, placement.instance_id, pool)
    instance = pool.instance(row)
    patch = make_patch(instance.rgba, placement, plan.mask_rate)
    if placement.blend != "alpha":
        patch = prepare(patch, placement.blend, placement.motion)
    whole, patch = patch, _clipped(patch, plan.view.size_hw)
    (top, left), (height, width) = patch.top_left_yx, patch.mask.shape
    if height and width:
        part = canvas[top : top + height, left : left + width]
        rgb = patch.rgb
        if placement.colour or any(plan.match):
            rgb = _recoloured(patch, part, placement, plan.match)
        paint(part, rgb, patch.alpha, patch.mask, placement.blend)
    outside_area = 0 if patch is whole else _pixels(whole.mask) - _pixels(patch.mask)
    return Painted(Layer(patch.mask, patch.top_left_yx), outside_area)


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
    canvas: np.ndarray, plan: PastePlan, copied: Copied, backgrounds: AnyBackgrounds
) -> list[Painted]:
    """Objects at their own places, hard edges. Source: Simple Copy-Paste, X-Paste's `self_copy`."""
    row = background_row(plan, copied.background_id, copied.view, backgrounds)
    annotations = copied_objects(plan, copied, backgrounds)
    image = show(backgrounds.load(row), copied.view)
    painted = []
    for annotation, layer in show_layers(annotations, copied.view):
        (top, left), (height, width) = layer.top_left_yx, layer.mask.shape
        where = (slice(top, top + height), slice(left, left + width))
        if layer.mask.size:
            cv2.copyTo(np.ascontiguousarray(image[where]), layer.mask, canvas[where])
        painted.append(Painted(layer, annotation=annotation))
    return painted


def _clipped(patch: Patch, canvas_hw: SizeHW) -> Patch:
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


def _pixels(mask: np.ndarray) -> int:
    return cv2.countNonZero(mask) if mask.size else 0
