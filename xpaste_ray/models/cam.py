"""Where in an image a classifier sees a category, and how far from there a segment is."""

import math

import numpy as np

from xpaste_ray.errors import RowError
from xpaste_ray.masks import OBJECT_ABOVE, tight_box_xywh

PointYX = tuple[float, float]


def activation_centre_yx(activation: np.ndarray, threshold: float) -> PointYX:
    """The centre of gravity of where an activation is at least `threshold` times its maximum.

    activation: (H, W) float, 0 and above. Each such pixel counts alike (EM-Paste, step 1: the map is made
    binary first). Pixel centres have whole numbers. A map without any activation tells nothing: its centre
    is the image's. RowError("nan_score") for numbers that are none.
    """
    highest = float(activation.max())
    if not math.isfinite(highest):
        raise RowError("nan_score", "an activation is not finite")
    if highest <= 0:
        height, width = activation.shape
        return (height - 1) / 2, (width - 1) / 2
    # A threshold of 0 means all that is active at all.
    rows, columns = np.nonzero((activation >= threshold * highest) & (activation > 0))
    return float(rows.mean()), float(columns.mean())


def mean_distance(mask: np.ndarray, centre_yx: PointYX) -> float:
    """How far a segment's pixels are from a point, on average, divided by the image's diagonal.

    mask: (H, W) uint8, above 128 is object. ValueError if it marks nothing. Source: EM-Paste, step 1, which
    measures in pixels; divided, distances of images of several sizes can be compared.
    """
    inside = mask > OBJECT_ABOVE
    box = tight_box_xywh(inside)
    if box is None:
        raise ValueError("the mask marks nothing")
    left, top, width, height = box
    y = np.arange(top, top + height)[:, None] - centre_yx[0]
    x = np.arange(left, left + width)[None, :] - centre_yx[1]
    distances = np.hypot(y, x)[inside[top : top + height, left : left + width]]
    return float(distances.mean()) / math.hypot(*mask.shape)
