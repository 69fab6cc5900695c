"""Who is on which image: how many objects each category has, and how they are dealt to images."""

from collections.abc import Mapping, Sequence

import numpy as np

from xpaste_ray.longtail import reference_counts
from xpaste_ray.rng import rng_for

SHAPE, LEAST = 6.0, 1  # EM-Paste, "Long tail": b = 6, from 800 objects to 1
RARE_UP_TO, COMMON_UP_TO = 4, 14  # training images; LVIS has 10 and 100, of 100,000 images
MOST_OF_AN_IMAGE = 4


def long_tail(names: Sequence[str], most: int, seed: int) -> dict[str, int]:
    """Objects of each category. Which one is frequent and which is rare follows from the seed."""
    counts = np.rint(reference_counts(len(names), SHAPE, most, LEAST)).astype(int).tolist()
    ranks = rng_for(seed, "mini-lvis ranks").permutation(len(names))
    return {name: counts[rank] for name, rank in zip(names, ranks.tolist(), strict=True)}


def frequency_of(images: int) -> str:
    """LVIS's r, c or f, scaled to this study."""
    return "r" if images <= RARE_UP_TO else "c" if images <= COMMON_UP_TO else "f"


def deal(counts: Mapping[str, int], most: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """The categories of each image: 1 to `most`, none twice, all numbers of them about equally often.

    It is dealt anew until it comes out even: there may be too few images for a category, or the last ones may
    find all places in too few.
    """
    while True:
        dealt = _dealt(counts, _sizes(sum(counts.values()), most, rng), rng)
        if dealt is not None:
            return dealt


def _sizes(total: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Objects of each image, `total` in all."""
    sizes: list[int] = []
    while sum(sizes) < total:
        sizes.append(min(int(rng.integers(1, most + 1)), total - sum(sizes)))
    return np.array(sizes)


def _dealt(
    counts: Mapping[str, int], sizes: np.ndarray, rng: np.random.Generator
) -> list[tuple[str, ...]] | None:
    room = sizes.copy()
    shown: list[list[str]] = [[] for _ in sizes]
    for name in sorted(counts, key=lambda one: (-counts[one], one)):
        if np.count_nonzero(room) < counts[name]:
            return None
        for image in rng.choice(len(room), counts[name], replace=False, p=room / room.sum()).tolist():
            shown[image].append(name)
            room[image] -= 1
    return [tuple(names) for names in shown]
