"""Alpha by matting, from probabilities that a network is sure of in places only.

Source: X-Paste, stage B (CLIPSeg and MatteFormer). We solve closed-form matting (Levin, Lischinski, Weiss
2008; pymatting's equations) where the paper runs MatteFormer, one more network: it needs no weights.
pymatting compiles itself when it is first imported on a machine, which takes about a minute.
"""

import cv2
import numpy as np
from pymatting.laplacian.cf_laplacian import cf_laplacian
from scipy.sparse import csr_matrix

_UNKNOWN = 0.5
# pymatting's 1e-7 lets flat colours, such as a plain background, make the equations nearly singular: up to
# three times as long for alphas that differ by 0.002 on average.
_EPSILON = 1e-5
_TOLERANCE = 1e-7  # residual / right-hand side
_MAX_ITERATIONS = 2000  # 30 to 900 are usual
_MAX_UNKNOWN_PX = 25_000  # 0.2 to 1 s on a core; an edge of 8 pixels to each side has 18,000 at 512 x 512
_MAX_CROP_PX = 512 * 512  # the equations take 400 bytes a pixel: 105 MB


def refined(image: np.ndarray, probability: np.ndarray, limits: tuple[int, int]) -> np.ndarray:
    """Alpha that follows the image's edges.

    image: (H, W, 3) uint8 RGB. probability: (H, W) float32 in [0, 1]. limits of 255: below the first is
    background, from the second foreground, and what lies between is solved for. Returns (H, W) float32 in
    [0, 1].
    """
    blurred = cv2.GaussianBlur(probability.astype(np.float32), (5, 5), 0)
    return matte(image, trimap_of(blurred, limits), blurred)


def trimap_of(probability: np.ndarray, limits: tuple[int, int]) -> np.ndarray:
    """(H, W) float64: 0 background, 1 foreground, 0.5 unknown."""
    background_below, foreground_from = limits
    levels = probability * 255
    return np.where(levels >= foreground_from, 1.0, np.where(levels < background_below, 0.0, _UNKNOWN))


def matte(image: np.ndarray, trimap: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The trimap with its unknown part solved for, (H, W) float32 in [0, 1].

    Only the surroundings of the unknown part are looked at, and made smaller where they are more than a core
    solves in a second. Without both sure foreground and sure background there is nothing to matte
    between: what is unknown keeps its probability.
    """
    unknown = trimap == _UNKNOWN
    alpha = np.where(unknown, probability, trimap).astype(np.float32)
    if unknown.any():
        part = _surroundings(unknown)
        alpha[part] = np.where(unknown[part], _solved(image[part], trimap[part], alpha[part]), alpha[part])
    return alpha


def _surroundings(unknown: np.ndarray) -> tuple[slice, slice]:
    """The box of the unknown pixels with the two around it that share a 3 x 3 window with one of them."""
    rows, columns = np.flatnonzero(unknown.any(axis=1)), np.flatnonzero(unknown.any(axis=0))
    return slice(max(0, rows[0] - 2), rows[-1] + 3), slice(max(0, columns[0] - 2), columns[-1] + 3)


def _solved(image: np.ndarray, trimap: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Alpha at a bounded size, enlarged again; `otherwise` where nothing can be solved at that size."""
    height, width = trimap.shape
    unknown_px = np.count_nonzero(trimap == _UNKNOWN)
    scale = min(1.0, (_MAX_UNKNOWN_PX / unknown_px) ** 0.5, (_MAX_CROP_PX / trimap.size) ** 0.5)
    if scale < 1:
        size_wh = (max(1, int(width * scale)), max(1, int(height * scale)))
        image = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
        mixed = cv2.resize(trimap, size_wh, interpolation=cv2.INTER_AREA)
        trimap = np.where((mixed > 0) & (mixed < 1), _UNKNOWN, mixed)
    if min(trimap.shape) < 3 or not {0.0, _UNKNOWN, 1.0} <= set(np.unique(trimap)):
        return otherwise
    alpha = _closed_form(image, trimap)
    return alpha if scale == 1 else cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)


def _closed_form(image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """(h, w) float64 in [0, 1]: known pixels as they are, the others by the matting Laplacian."""
    known = trimap.ravel() != _UNKNOWN
    equations = cf_laplacian(image / 255.0, epsilon=_EPSILON, is_known=known)[~known]
    alpha = trimap.ravel().copy()
    alpha[~known] = _conjugate_gradient(equations[:, ~known], -(equations[:, known] @ alpha[known]))
    return alpha.clip(0, 1).reshape(trimap.shape)


def _conjugate_gradient(matrix: csr_matrix, right: np.ndarray) -> np.ndarray:
    """x with matrix @ x = right, preconditioned by the diagonal (Hestenes, Stiefel 1952).

    Sums are NumPy's own: those of BLAS, which pymatting's solver takes, round differently with another
    number of threads. Its stronger preconditioner needs 10 iterations for our hundreds, and as long.
    """
    diagonal = matrix.diagonal()
    x = np.zeros_like(right)
    residual = right.copy()
    enough = _TOLERANCE**2 * np.sum(right * right)
    step = residual / diagonal
    fit = np.sum(residual * step)
    for _ in range(_MAX_ITERATIONS):
        if np.sum(residual * residual) <= enough:
            break
        ahead = matrix @ step
        length = fit / np.sum(step * ahead)
        x += length * step
        residual -= length * ahead
        conditioned = residual / diagonal
        fit, last = np.sum(residual * conditioned), fit
        step = conditioned + fit / last * step
    return x
