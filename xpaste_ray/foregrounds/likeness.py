"""What a category looks like, learnt of features of its segments, and how far a segment is from that.

Everything is computed in blocks of one shape, so a row's distance does not depend on how many rows are read
at a time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from xpaste_ray.config.em import EmSettings

BLOCK = 512  # rows

_FINEST = 2.0**-22
"""Of the features' mean square: the square of the step between neighbouring float16 numbers."""


class Likeness(Protocol):
    """log_determinant: of the covariance; None where there is none."""

    @property
    def log_determinant(self) -> float | None: ...

    def of_block(self, block: np.ndarray) -> np.ndarray:
        """(n,) float32 distances, not negative, of (n, D) float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """Mahalanobis distance. mean: (D,) float32. whiten: (D, D) float32; `(x - mean) @ whiten` has unit
    covariance."""

    mean: np.ndarray
    whiten: np.ndarray
    log_determinant: float | None

    def of_block(self, block: np.ndarray) -> np.ndarray:
        white = (block - self.mean) @ self.whiten
        found: np.ndarray = np.sqrt(np.einsum("ij,ij->i", white, white))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """1 - cosine to the mean (EM-Paste, figure 2). unit: (D,) float32. Zeros are as far as what is at right
    angles."""

    unit: np.ndarray
    log_determinant: float | None = None

    def of_block(self, block: np.ndarray) -> np.ndarray:
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
        cosines = (block @ self.unit) / np.where(lengths > 0, lengths, 1)
        found: np.ndarray = np.maximum(1 - cosines, 0)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Of n rows. mean: (D,), covariance: (D, D), both float64, over n. fourth: mean of the centred rows'
    |x|^4."""

    count: int
    mean: np.ndarray
    covariance: np.ndarray
    fourth: float


def learn(samples: np.ndarray, settings: EmSettings) -> tuple[Likeness, float]:
    """Of the inner ones of samples (n >= 2, D), finite; and the largest distance of those to it.

    Inner are the `inner_fraction` that are nearest to the likeness of all, two at least.
    """
    distances = distances_to(_fit(samples, settings), samples)
    part = round(settings.inner_fraction * len(samples), 6)  # 0.1 of 30 is not 3.0000000000000004
    count = max(int(np.ceil(part)), 2)
    inner = samples[np.sort(np.argsort(distances, kind="stable")[:count])]
    likeness = _fit(inner, settings)
    return likeness, float(distances_to(likeness, inner).max())


def distances_to(likeness: Likeness, features: np.ndarray) -> np.ndarray:
    """(n,) float32 of (n, D); infinite for what is not finite."""
    found = np.empty(len(features), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for rows, values in by_blocks(features, likeness.of_block):
            found[rows] = values
    found[~np.isfinite(found)] = np.inf
    return found


def by_blocks(
    features: np.ndarray, function: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[slice, np.ndarray]]:
    """Which rows, and what the function makes of them as float32, `BLOCK` at a time; the last ones are filled
    up with zeros."""
    for start in range(0, len(features), BLOCK):
        part = features[start : start + BLOCK]
        block = np.zeros((BLOCK, features.shape[1]), np.float32)
        block[: len(part)] = part
        yield slice(start, start + len(part)), function(block)[: len(part)]


def moments(samples: np.ndarray) -> Moments:
    """Of (n >= 1, D), in float64, some rows at a time."""
    count, width = samples.shape
    mean, covariance, fourth = np.zeros(width), np.zeros((width, width)), 0.0
    parts = [slice(start, start + BLOCK) for start in range(0, count, BLOCK)]
    for part in parts:
        mean += samples[part].sum(axis=0, dtype=np.float64)
    mean /= count
    for part in parts:
        centred = samples[part] - mean
        covariance += centred.T @ centred
        fourth += float((np.einsum("ij,ij->i", centred, centred) ** 2).sum())
    return Moments(count, mean, covariance / count, fourth / count)


def ledoit_wolf(told: Moments) -> float:
    """The part of the covariance that is best replaced by a multiple of one (Ledoit and Wolf 2004; what
    scikit-learn's `ledoit_wolf_shrinkage` gives), but at least 1 / n.

    Theirs is 0 for two samples, which lie on a line and would leave no variance across it. 1 / n is as if one
    of the samples stood for "alike in all directions".
    """
    width = len(told.mean)
    trace, square = float(np.trace(told.covariance)), float((told.covariance**2).sum())
    spread = square - trace**2 / width  # of the eigenvalues, around their mean
    noise = (told.fourth - square) / told.count
    best = min(noise / spread, 1.0) if spread > 0 else 0.0
    return max(best, 1 / told.count)


def _fit(samples: np.ndarray, settings: EmSettings) -> Likeness:
    if settings.distance == "cosine":
        mean = samples.mean(axis=0, dtype=np.float64)
        return Direction((mean / (np.linalg.norm(mean) or 1)).astype(np.float32))
    told = moments(samples)
    width = len(told.mean)
    part = ledoit_wolf(told) if settings.shrinkage == "ledoit-wolf" else settings.shrinkage
    variance = np.trace(told.covariance) / width
    least = _least_variance(told, width)
    covariance = (1 - part) * told.covariance + (part * variance + least) * np.eye(width)
    factor = cholesky(covariance, lower=True)
    whiten = solve_triangular(factor, np.eye(width), lower=True).T
    return Gaussian(
        told.mean.astype(np.float32),
        np.ascontiguousarray(whiten, np.float32),
        float(2 * np.log(np.diag(factor)).sum()),
    )


def _least_variance(told: Moments, width: int) -> float:
    """In any direction: what float16 can tell of features of that size. So the samples may be all the same
    ones, and a given shrinkage may be 0. 1 if all are zeros, where any would do."""
    mean_square = (np.trace(told.covariance) + float(told.mean @ told.mean)) / width
    return float(_FINEST * mean_square) or 1.0
