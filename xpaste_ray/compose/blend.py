"""Ways to paint a patch on the canvas. The mask of the instance is the hard one in all cases."""

import math
from dataclasses import replace

import cv2
import numpy as np

from xpaste_ray.compose.patch import Patch, with_margin
from xpaste_ray.config import Blend

_GAUSSIAN_PX, _GAUSSIAN_SIGMA = 5, 2.0  # EM-Paste's code
_BOX_PX = {"box": 3, "box5": 5}  # EM-Paste's code; X-Paste's, where it is called gaussian
MOTION_LENGTHS_PX = (3, 5, 7, 9)  # EM-Paste's code


def prepare(patch: Patch, blend: Blend, motion: tuple[int, float] | None) -> Patch:
    """The patch with the alpha that the blend paints with, wider if a blurred edge needs it.

    The box, Gaussian and motion edges blur the hard mask, as the papers' code does.
    """
    if blend == "hard":
        return replace(patch, alpha=patch.mask * np.uint8(255))
    kernel = _edge_kernel(blend, motion)
    if kernel is None:
        return patch
    patch = with_margin(patch, kernel.shape[0] // 2)
    blurred = cv2.filter2D(patch.mask * np.uint8(255), -1, kernel, borderType=cv2.BORDER_CONSTANT)
    return replace(patch, alpha=blurred)


def paint(part: np.ndarray, rgb: np.ndarray, alpha: np.ndarray, mask: np.ndarray, blend: Blend) -> None:
    """Paint in place. part, rgb: (h, w, 3) uint8, rgb is used up; alpha: (h, w) uint8; mask: (h, w)
    uint8, 0 or 1."""
    if blend == "hard":
        cv2.copyTo(rgb, alpha, part)
    elif blend == "poisson":
        cv2.copyTo(_poisson(part, rgb, mask), mask, part)
    else:
        weight = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB)  # all in place: new memory costs more than the sums
        cv2.multiply(rgb, weight, scale=1 / 255, dst=rgb)
        cv2.bitwise_not(weight, dst=weight)
        cv2.multiply(part, weight, scale=1 / 255, dst=part)
        cv2.add(part, rgb, dst=part)


def _edge_kernel(blend: Blend, motion: tuple[int, float] | None) -> np.ndarray | None:
    """(k, k) float32 with k odd and sum 1; None for blends that keep the alpha."""
    if blend == "gaussian":
        line = cv2.getGaussianKernel(_GAUSSIAN_PX, _GAUSSIAN_SIGMA)
        return (line @ line.T).astype(np.float32)
    if side := _BOX_PX.get(blend):
        return np.full((side, side), 1 / side**2, np.float32)
    if blend == "motion" and motion:
        return _motion_kernel(*motion)
    return None


def _motion_kernel(length_px: int, direction_deg: float) -> np.ndarray:
    """A line through the middle of a (length, length) kernel."""
    middle = (length_px - 1) / 2
    reach_x = middle * math.cos(math.radians(direction_deg))
    reach_y = middle * math.sin(math.radians(direction_deg))
    kernel = np.zeros((length_px, length_px), np.uint8)
    start, end = ((round(middle + s * reach_x), round(middle + s * reach_y)) for s in (-1, 1))
    cv2.line(kernel, start, end, 1)
    return kernel.astype(np.float32) / np.float32(kernel.sum())


def _poisson(part: np.ndarray, rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Gradient-domain cloning inside the rectangle (Perez et al. 2003), by OpenCV.

    It needs a ring around the mask: the rectangle's own edge is repeated outside, so that it works at
    the canvas' border too, where OpenCV's function would fail, as it does for masks without an inside.
    """
    if not cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0).any():
        return rgb
    ring = 2
    wide, source = (
        cv2.copyMakeBorder(image, ring, ring, ring, ring, cv2.BORDER_REPLICATE) for image in (part, rgb)
    )
    region = cv2.copyMakeBorder(mask * np.uint8(255), ring, ring, ring, ring, cv2.BORDER_CONSTANT, value=0)
    x, y, width, height = cv2.boundingRect(region)
    cloned = cv2.seamlessClone(source, wide, region, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return cloned[ring:-ring, ring:-ring]
