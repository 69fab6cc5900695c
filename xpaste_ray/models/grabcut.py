"""Foreground segmentation without weights: OpenCV's GrabCut from the image border.

Source: Rother, Kolmogorov, Blake 2004; cv2.grabCut.
"""

import cv2
import numpy as np

_MIXTURE_SIZE = 65  # doubles in each of GrabCut's colour models, fixed by OpenCV


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
