"""What networks put out, as masks in the frame of an image. Masks are (H, W) float32."""

import cv2
import numpy as np

from xpaste_ray.errors import RowError


def resized(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Bilinear, corners on pixel edges. Raises RowError("mask_not_finite") for NaN and infinities."""
    if not np.isfinite(mask).all():
        raise RowError("mask_not_finite")
    height, width = size_hw
    return cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)


def stretched(mask: np.ndarray) -> np.ndarray:
    """To [0, 1], its smallest value to 0 and its largest to 1; a constant mask shows nothing, so 0.

    Source: X-Paste, stage B, after each of its methods. Something is then always found, whether it is
    there or not; only a score can reject it.
    """
    low, high = float(mask.min()), float(mask.max())
    if high == low:
        return np.zeros_like(mask, dtype=np.float32)
    whole: np.ndarray = np.clip((mask.astype(np.float32) - low) / (high - low), 0, 1)
    return whole
