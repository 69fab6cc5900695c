"""Subsets with a long tail: few classes with many masks, many with few (EM-Paste, "Long tail").

The numbers of masks that the classes should have follow a Pareto density; images hold several classes, so
they are drawn to fit those numbers together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

from xpaste_ray.errors import ConfigError
from xpaste_ray.rng import key_for

_PASSES = 50  # of a descent that ends by itself, after a few
_SMALLEST_GAIN = 1e-9  # more than rounding: a descent that went in a circle would not end


@dataclass(frozen=True, slots=True, eq=False)
class LongTail:
    """Which images a subset has, and how that fits.

    classes: columns of those that have masks, the one with most masks first. totals, reference, achieved:
    masks of each in all images, in an ideal subset, in this one. The reference may be above the total.
    images: rows of the chosen ones, ascending.
    """

    classes: np.ndarray
    totals: np.ndarray
    reference: np.ndarray
    achieved: np.ndarray
    images: np.ndarray

    @property
    def misfit(self) -> float:
        """Masks too many or too few, as a part of those that the reference has, as far as there are any."""
        targets = np.minimum(self.reference, self.totals)
        return float(np.abs(self.achieved - targets).sum() / targets.sum())


def reference_counts(classes: int, shape: float, most: int, least: int) -> np.ndarray:
    """(classes,) float, descending from `most` to `least` masks.

    The Pareto density b/x^(b+1), b = `shape`, at points that lie evenly from 1 to where it has fallen to
    least/most of what it is at 1; scaled so that it begins with `most`. (EM-Paste gives b = 6, most = 800,
    least = 1, and neither the points nor the scale.) ConfigError if the numbers make no such curve.
    """
    if not (np.isfinite(shape) and shape > 0):
        raise ConfigError(f"--shape must be above 0, got {shape}")
    if not 1 <= least <= most:
        raise ConfigError(f"--min must be at least 1 and --max at least --min, got {least} and {most}")
    end = (most / least) ** (1 / (shape + 1))
    reference: np.ndarray = most * np.linspace(1, end, classes) ** -(shape + 1)
    return reference


def draw_long_tail(
    counts: csr_array, image_ids: Sequence[str | int], shape: float, most: int, least: int, seed: int
) -> LongTail:
    """counts: (N, C) masks of each class in each image. image_ids: what chance knows the images by: their
    order, and what else there is, change nothing between two of them. ConfigError."""
    totals = np.asarray(counts.sum(axis=0), np.int64)
    classes = np.argsort(-totals, kind="stable")[: int((totals > 0).sum())]
    if not len(classes):
        raise ConfigError("there is no mask to draw from: give a COCO or LVIS file with annotations")
    reference = np.rint(reference_counts(len(classes), shape, most, least)).astype(np.int64)
    by_rank = csr_array(counts[:, classes])
    order = sorted(range(len(image_ids)), key=lambda row: key_for(seed, "longtail", image_ids[row]))
    chosen = choose_images(by_rank, np.minimum(reference, totals[classes]), order)
    achieved = np.asarray(by_rank[chosen].sum(axis=0), np.int64)
    return LongTail(classes, totals[classes], reference, achieved, np.flatnonzero(chosen))


def choose_images(counts: csr_array, targets: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """(N,) bool: images whose masks come near the targets, each with all that it shows.

    counts: (N, C). targets: (C,), at least 1. order: of the images, by chance.

    An image is taken only if that lowers the misfit, the sum over the classes of (masks - target)^2 /
    target: so a class gets more than its target only where its images bring others nearer to theirs by more.
    Classes with the lowest targets choose first; then images are taken and given back as long as the misfit
    falls. A class that all of this leaves empty gets the image that harms the others least.
    """
    draw = _Draw(counts, targets)
    place = np.empty(len(order), np.int64)
    place[list(order)] = np.arange(len(order))
    by_class = counts.tocsc()
    for rarest in np.argsort(targets, kind="stable").tolist():
        own = by_class.indices[by_class.indptr[rarest] : by_class.indptr[rarest + 1]]
        own = own[np.argsort(place[own])].tolist()
        draw.fill(rarest, own)
    for _ in range(_PASSES):
        if not draw.improve(order):
            break
    for column in range(counts.shape[1]):
        own = by_class.indices[by_class.indptr[column] : by_class.indptr[column + 1]]
        draw.at_least_one(column, own[np.argsort(place[own])].tolist())
    return np.array(draw.taken, bool)


class _Draw:
    """A subset under way. Lists, not arrays: it is asked of one image with a few classes at a time."""

    def __init__(self, counts: csr_array, targets: np.ndarray) -> None:
        starts, columns, numbers = counts.indptr.tolist(), counts.indices.tolist(), counts.data.tolist()
        self._shown = [
            list(zip(columns[start:end], numbers[start:end], strict=True)) for start, end in pairwise(starts)
        ]
        self._targets: list[int] = targets.tolist()
        self._masks = [0] * len(self._targets)
        self.taken = [False] * len(self._shown)

    def fill(self, column: int, images: Sequence[int]) -> None:
        """Take images, in this order, until the class has as many masks as it should."""
        for image in images:
            if self._masks[column] >= self._targets[column]:
                return
            if not self.taken[image] and self._change(image) < -_SMALLEST_GAIN:
                self._switch(image)

    def improve(self, images: Sequence[int]) -> bool:
        """Take or give back each image if that lowers the misfit. Whether one did."""
        better = False
        for image in images:
            if self._change(image) < -_SMALLEST_GAIN:
                self._switch(image)
                better = True
        return better

    def at_least_one(self, column: int, images: Sequence[int]) -> None:
        if not self._masks[column]:
            self._switch(min(images, key=self._change))

    def _change(self, image: int) -> float:
        """Of the misfit, if the image were taken, or given back."""
        sign = -1 if self.taken[image] else 1
        change = 0.0
        for column, number in self._shown[image]:
            target = self._targets[column]
            change += number * (number + sign * 2 * (self._masks[column] - target)) / target
        return change

    def _switch(self, image: int) -> None:
        sign = -1 if self.taken[image] else 1
        for column, number in self._shown[image]:
            self._masks[column] += sign * number
        self.taken[image] = not self.taken[image]
