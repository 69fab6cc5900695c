"""Foreground segmentation without weights: OpenCV's GrabCut from the image border.

Source: Rother, Kolmogorov, Blake 2004; cv2.grabCut.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from xpaste_ray.config.segment import GrabCutMethod
from xpaste_ray.models.segmenters import Shown, SoftMask
from xpaste_ray.rng import int_seed_for

_MIXTURE_SIZE = 65  # doubles in each of GrabCut's colour models, fixed by OpenCV


class GrabCutSegmenter:
    """One mask an image, see `grabcut_mask`; what OpenCV draws at random is keyed by the candidate."""

    micro_batch = 1

    def __init__(self, settings: GrabCutMethod) -> None:
        self._settings = settings

    def __call__(self, shown: Sequence[Shown]) -> list[list[SoftMask]]:
        return [[SoftMask(self._segment(one).astype(np.float32) / 255)] for one in shown]

    def _segment(self, one: Shown) -> np.ndarray:
        seed = int_seed_for(0, "grabcut", one.candidate_id, bits=31)
        return grabcut_mask(one.image, self._settings.border_px, self._settings.iterations, seed)


def grabcut_mask(image: np.ndarray, border_px: int, iterations: int, seed: int) -> np.ndarray:
    """The object on a mostly plain background.

    image: (H, W, 3) uint8 RGB; its outermost `border_px` pixels are taken as sure background.
    Returns (H, W) uint8, 0 to 255, soft over one pixel at the edge. GrabCut draws from OpenCV's
    global generator, which is seeded here: the same image and seed give the same mask.
    """
    mask = np.full(image.shape[:2], cv2.GC_PR_FGD, np.uint8)
    mask[:border_px] = mask[-border_px:] = mask[:, :border_px] = mask[:, -border_px:] = cv2.GC_BGD
    background, foreground = np.zeros((1, _MIXTURE_SIZE)), np.zeros((1, _MIXTURE_SIZE))
    cv2.setRNGSeed(seed)
    bgr = np.ascontiguousarray(image[..., ::-1])
    cv2.grabCut(bgr, mask, None, background, foreground, iterations, cv2.GC_INIT_WITH_MASK)
    hard = np.where((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD), 255, 0).astype(np.uint8)
    return cv2.GaussianBlur(hard, (3, 3), 0)
