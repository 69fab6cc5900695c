"""From a cut-out and its placement to the pixels that are pasted."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from xpaste_ray.compose.plan import Colour, Placement, SizeHW
from xpaste_ray.masks import resize_cutout

_OPAQUE = 127  # alpha above it belongs to the instance's mask


@dataclass(frozen=True, slots=True)
class Patch:
    """rgb: (h, w, 3) and alpha: (h, w) uint8, with their corner at `top_left_yx` of the canvas, perhaps
    outside. mask: (h, w) uint8, 1 where the instance is (alpha of 128 and more), whatever the blend does.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    mask: np.ndarray
    top_left_yx: tuple[int, int]


def turned_size_hw(size_hw: SizeHW, angle_deg: float) -> SizeHW:
    """The rectangle around a rectangle of `size_hw` that is turned about its middle."""
    if angle_deg == 0:
        return size_hw
    height, width = size_hw
    cos, sin = abs(math.cos(math.radians(angle_deg))), abs(math.sin(math.radians(angle_deg)))
    return math.ceil(height * cos + width * sin - 1e-9), math.ceil(width * cos + height * sin - 1e-9)


def turned_point_yx(point_yx: tuple[float, float], size_hw: SizeHW, angle_deg: float) -> tuple[float, float]:
    """Where a point of a rectangle lies in the rectangle around it once it is turned; in pixels."""
    y, x = (p - s / 2 for p, s in zip(point_yx, size_hw, strict=True))
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    height, width = turned_size_hw(size_hw, angle_deg)
    return y * cos - x * sin + height / 2, x * cos + y * sin + width / 2


def mask_reach_px(size_hw: SizeHW, mask_rate: float) -> int:
    """How far a dilated mask reaches out of its rectangle at most, up, down and sideways; 0 if it is not
    dilated. size_hw: the rectangle's, after turning."""
    return mask_kernel_px(size_hw, mask_rate) // 2 if mask_rate > 1 else 0


def make_patch(rgba: np.ndarray, placement: Placement, mask_rate: float) -> Patch:
    """Resize, mirror, turn, grow or shrink the mask. rgba: (h, w, 4) uint8, not modified."""
    rgba = resize_cutout(rgba, placement.size_hw)
    if placement.flip:
        rgba = cv2.flip(rgba, 1)
    if placement.angle_deg:
        rgba = _turn(rgba, placement.angle_deg)
    rgb, alpha = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), cv2.extractChannel(rgba, 3)
    mask = cv2.threshold(alpha, _OPAQUE, 1, cv2.THRESH_BINARY)[1]
    patch = Patch(rgb, alpha, mask, placement.top_left_yx)
    return patch if mask_rate == 1.0 else _with_mask_changed(patch, mask_rate)


def with_margin(patch: Patch, margin: int) -> Patch:
    """Transparent pixels all around, in the colour of the nearest pixel."""
    sides = (margin, margin, margin, margin)
    rgb = cv2.copyMakeBorder(patch.rgb, *sides, cv2.BORDER_REPLICATE)
    alpha, mask = (
        cv2.copyMakeBorder(plane, *sides, cv2.BORDER_CONSTANT, value=0) for plane in (patch.alpha, patch.mask)
    )
    top, left = patch.top_left_yx
    return Patch(rgb, alpha, mask, (top - margin, left - margin))


def recolour(rgb: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """rgb: (h, w, 3) uint8; matrix: (3, 4), colours in 0 .. 255 and 1. Returns (h, w, 3) uint8."""
    return cv2.transform(rgb, matrix)


def colour_matrix(colour: Colour, mean_grey: float) -> np.ndarray:
    """Brightness, contrast about the mean, saturation about the grey, hue about the grey axis (in YIQ)."""
    grey = np.tile(_LUMA, (3, 1))
    angle = 2 * math.pi * colour.hue
    turn = np.diag([1.0, 1.0, 1.0])
    turn[1:, 1:] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    hue = np.linalg.inv(_YIQ) @ turn @ _YIQ
    saturation = colour.saturation * np.eye(3) + (1 - colour.saturation) * grey
    gain = colour.brightness * colour.contrast
    offset = colour.brightness * (1 - colour.contrast) * mean_grey
    return np.column_stack((gain * (hue @ saturation), np.full(3, offset)))


def matching_matrix(
    rgb: np.ndarray, mask: np.ndarray, background: np.ndarray, match: tuple[float, float]
) -> np.ndarray:
    """Move mean and deviation of the brightness toward the background's by the fractions `match`.

    rgb, background: (h, w, 3) uint8; mask: (h, w) uint8. Source: X-Paste's summary.
    """
    mean, deviation = _brightness(rgb, mask)
    wanted_mean, wanted_deviation = _brightness(background, None)
    mean_share, deviation_share = match
    gain = 1 + deviation_share * (wanted_deviation / max(deviation, 1.0) - 1)
    target = mean + mean_share * (wanted_mean - mean)
    return np.column_stack((gain * np.eye(3), np.full(3, target - gain * mean)))


def mean_grey(rgb: np.ndarray, mask: np.ndarray) -> float:
    return _brightness(rgb, mask)[0]


_LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def _brightness(rgb: np.ndarray, mask: np.ndarray | None) -> tuple[float, float]:
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), mask=mask)
    return float(mean[0, 0]), float(deviation[0, 0])


def _turn(rgba: np.ndarray, angle_deg: float) -> np.ndarray:
    # A transparent pixel all around, so that what lies outside repeats it.
    rgba = cv2.copyMakeBorder(rgba, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    rgba[[0, -1], :, 3] = 0
    rgba[:, [0, -1], 3] = 0
    height, width = rgba.shape[:2]
    out_height, out_width = turned_size_hw((height - 2, width - 2), angle_deg)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    matrix[:, 2] += (out_width - width) / 2, (out_height - height) / 2
    return cv2.warpAffine(
        rgba, matrix, (out_width, out_height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _with_mask_changed(patch: Patch, rate: float) -> Patch:
    """Dilate or erode alpha and mask by a square of |rate - 1| of the shorter side. Source: X-Paste's
    dilation study."""
    height, width = patch.mask.shape
    side = mask_kernel_px((height, width), rate)
    if side < 2:
        return patch
    kernel = np.ones((side, side), np.uint8)
    if rate > 1:
        patch = with_margin(patch, mask_reach_px((height, width), rate))
    change = cv2.dilate if rate > 1 else cv2.erode
    alpha, mask = (
        change(plane, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        for plane in (patch.alpha, patch.mask)
    )
    return replace(patch, alpha=alpha, mask=mask)


def mask_kernel_px(size_hw: SizeHW, rate: float) -> int:
    """Side of the square by which a mask is dilated or eroded; 0 or 1 if it stays as it is."""
    return int(abs(rate - 1) * min(size_hw) + 1e-9)
