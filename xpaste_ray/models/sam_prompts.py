"""What SAM is asked about an image, when nobody clicks. Points are (x, y) in pixels of the image."""

from dataclasses import dataclass

import numpy as np
from segment_anything.utils.amg import build_point_grid

from xpaste_ray.config.segment import SamMethod

_CORNER_MARGIN_PX = 5  # DiverGen, get_background_sam_mask.py


@dataclass(frozen=True, slots=True)
class SamPrompt:
    """points: (K, 2) float64, all of them on what is asked for; or box_xyxy: (4,) float64. background: what
    is asked for is not the object."""

    points: np.ndarray | None = None
    box_xyxy: np.ndarray | None = None
    background: bool = False


def prompt_for(settings: SamMethod, size_hw: tuple[int, int]) -> SamPrompt:
    """The one prompt of `centre`, `box` or `corners`.

    corners: as in DiverGen, a point 5 px inside of each corner. We leave its code in this: it gives them as
    (row, column), and one of them at column 0; so on a wide image some lie outside.
    """
    height, width = size_hw
    match settings.prompt:
        case "centre":
            return SamPrompt(points=np.array([[width / 2, height / 2]]))
        case "box":
            margin = settings.box_margin
            near, far = np.array([margin, margin]), np.array([1 - margin, 1 - margin])
            return SamPrompt(box_xyxy=np.concatenate([near, far]) * [width, height, width, height])
        case "corners":
            x, y = min(_CORNER_MARGIN_PX, (width - 1) // 2), min(_CORNER_MARGIN_PX, (height - 1) // 2)
            right, bottom = width - 1 - x, height - 1 - y
            points = np.array([[x, y], [right, y], [x, bottom], [right, bottom]], float)
            return SamPrompt(points=points, background=True)
    raise ValueError(f"{settings.prompt!r} is not one prompt")


def grid_points(points_per_side: int, size_hw: tuple[int, int]) -> np.ndarray:
    """(points_per_side squared, 2): the middles of equal cells, row by row."""
    height, width = size_hw
    points: np.ndarray = build_point_grid(points_per_side) * [width, height]
    return points
