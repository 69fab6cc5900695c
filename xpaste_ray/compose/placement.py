"""Where an instance is pasted. Corners are (y, x) of the rectangle around it, in canvas pixels."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from xpaste_ray.config import PlaceSettings

_MARGIN_PX = 2.0  # resampling spreads a cut-out's edge by a pixel, and its corner is rounded to one


def corner_or_problem(
    places: tuple[float, float],
    size_hw: tuple[int, int],
    canvas_hw: tuple[int, int],
    settings: PlaceSettings,
    reach_px: int = 0,
) -> tuple[int, int] | str:
    """The corner by the rule (all but `space-maximize`), or why there is none.

    places: two draws in [0, 1). size_hw: the rectangle around the turned instance. reach_px: how far its
    dilated mask reaches out of that.
    """
    if settings.rule == "inside":
        whole_hw = (size_hw[0] + 2 * reach_px, size_hw[1] + 2 * reach_px)
        if whole_hw[0] > canvas_hw[0] or whole_hw[1] > canvas_hw[1]:
            return "too_large"
        top, left = inside(places, whole_hw, canvas_hw)
        return top + reach_px, left + reach_px
    corner = anywhere(places, size_hw, canvas_hw)
    cut = inside_fraction(corner, size_hw, canvas_hw) < settings.min_inside_fraction
    return "cut_by_border" if cut else corner


def anywhere(
    places: tuple[float, float], size_hw: tuple[int, int], canvas_hw: tuple[int, int]
) -> tuple[int, int]:
    """The corner for a centre at `places` (fractions of the canvas). Source: X-Paste, stage H."""
    y, x = (int(p * c) - s // 2 for p, c, s in zip(places, canvas_hw, size_hw, strict=True))
    return y, x


def inside(
    places: tuple[float, float], size_hw: tuple[int, int], canvas_hw: tuple[int, int]
) -> tuple[int, int]:
    """The corner at `places` (fractions of the room there is), so that all of it lies inside; it must fit."""
    y, x = (int(p * (c - s + 1)) for p, c, s in zip(places, canvas_hw, size_hw, strict=True))
    return y, x


def inside_fraction(
    top_left_yx: tuple[int, int], size_hw: tuple[int, int], canvas_hw: tuple[int, int]
) -> float:
    """The share of a rectangle that lies on the canvas."""
    shares = (
        max(0, min(start + size, canvas) - max(start, 0)) / size
        for start, size, canvas in zip(top_left_yx, size_hw, canvas_hw, strict=True)
    )
    return math.prod(shares)


@dataclass(frozen=True, slots=True)
class Circle:
    """Centre (y, x) and radius, in pixels; pixel (y, x) covers y .. y + 1."""

    centre_yx: tuple[float, float]
    radius: float


def largest_free_circle(occupied: np.ndarray) -> Circle:
    """The largest circle that touches neither an occupied pixel nor the border.

    occupied: (H, W) bool or uint8. Source: EM-Paste, Algorithm 2, with the border as an obstacle on all
    four sides (its code took the first circle to the middle of the image).
    """
    free = np.zeros((occupied.shape[0] + 2, occupied.shape[1] + 2), np.uint8)
    free[1:-1, 1:-1] = occupied == 0
    distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    # The distance is between centres of pixels: the obstacle's pixel begins at most sqrt(1/2) before.
    radius = max(0.0, float(distance[y, x]) - math.sqrt(0.5))
    return Circle((float(y) - 0.5, float(x) - 0.5), radius)


def enclosing_circle(alpha: np.ndarray) -> Circle | None:
    """A circle around every pixel that shows anything; None if none does. alpha: (h, w) uint8."""
    points = cv2.findNonZero(np.ascontiguousarray(alpha))
    if points is None:
        return None
    (x, y), radius = cv2.minEnclosingCircle(cv2.convexHull(points))
    return Circle((y + 0.5, x + 0.5), radius + math.sqrt(0.5))


def scale_to_fit(free: Circle, own: Circle, turned_hw: tuple[int, int], mask_rate: float) -> float:
    """The largest scale at which an instance with its dilated mask stays inside `free`; 0 if none does.

    own: its enclosing circle; turned_hw: the rectangle around it once it is turned; both at scale 1.
    Source: EM-Paste, Algorithm 2: r1 / r2, less what resampling, rounding and dilation add.
    """
    # A square kernel of (rate - 1) x the shorter side reaches half its diagonal out of the mask.
    diagonal = max(0.0, mask_rate - 1) / math.sqrt(2)
    room = free.radius - _MARGIN_PX - 2 * diagonal  # whole pixels make the rectangle up to 2 px larger
    return max(0.0, room) / (own.radius + diagonal * min(turned_hw))
