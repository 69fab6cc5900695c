"""In which order images are taken.

Repeat-factor sampling takes images of rare categories more often (Gupta et al. 2019, LVIS; X-Paste, 1.11).
A category that a part f of the images shows has the factor max(1, sqrt(t / f)), t the threshold; an image has
the largest of its categories', and comes so often in each round: the whole part for certain, and once more
with the probability of the rest.
"""

from typing import Protocol

import numpy as np

from xpaste_ray.rng import rng_for


class Order(Protocol):
    """Endless: the row of the image that is number i."""

    def __getitem__(self, number: int) -> int: ...


def repeat_factors(rows: np.ndarray, category_ids: np.ndarray, images: int, threshold: float) -> np.ndarray:
    """(images,) float64, at least 1. rows, category_ids: (M,), the image and the category of each object. An
    image without any object has 1."""
    pairs = np.unique(np.stack([rows, category_ids]), axis=1)
    _, category, counts = np.unique(pairs[1], return_inverse=True, return_counts=True)
    of_category = np.sqrt(threshold * images / counts)
    factors = np.ones(images)
    np.maximum.at(factors, pairs[0], of_category[category])
    return factors


class RepeatedOrder:
    """Endless rounds over N images, each in an order of its own. What is number i depends on the arguments
    and i alone."""

    def __init__(self, factors: np.ndarray, seed: int, name: str) -> None:
        """factors: (N,), see `repeat_factors`. name: of these images among others of the same seed."""
        self._factors, self._seed, self._name = factors, seed, name
        self._starts = [0]
        self._round, self._order = 0, self._rows(0)

    def __getitem__(self, number: int) -> int:
        """A row, from 0 to N - 1."""
        while self._starts[-1] <= number:
            self._starts.append(self._starts[-1] + int(self._counts(len(self._starts) - 1).sum()))
        found = int(np.searchsorted(self._starts, number, side="right")) - 1
        if found != self._round:
            self._round, self._order = found, self._rows(found)
        return int(self._order[number - self._starts[found]])

    def _counts(self, number: int) -> np.ndarray:
        """How often a round has each row."""
        whole = np.floor(self._factors)
        more = self._rng("repeats", number).random(len(whole)) < self._factors - whole
        counts: np.ndarray = (whole + more).astype(np.int64)
        return counts

    def _rows(self, number: int) -> np.ndarray:
        rows = np.repeat(np.arange(len(self._factors)), self._counts(number))
        return self._rng("repeated-order", number).permutation(rows)

    def _rng(self, purpose: str, number: int) -> np.random.Generator:
        return rng_for(self._seed, purpose, self._name, number)


class OrderWithContexts:
    """Originals, and now and then one of the contexts, which are the rows after them."""

    def __init__(self, originals: Order, contexts: Order, first: int, share: float, seed: int) -> None:
        """first: row of the first context. share: of the images, that are contexts."""
        self._originals, self._contexts = originals, contexts
        self._first, self._share, self._seed = first, share, seed

    def __getitem__(self, number: int) -> int:
        if rng_for(self._seed, "context", number).random() < self._share:
            return self._first + self._contexts[number]
        return self._originals[number]
