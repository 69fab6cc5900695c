"""Where an instance is pasted."""

import numpy as np


def inside(rng: np.random.Generator, size_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> tuple[int, int]:
    """A uniform top-left corner (y, x) at which the instance lies wholly inside the canvas.

    An instance larger than the canvas in a direction is centred in that direction.
    """
    corner = []
    for size, canvas in zip(size_hw, canvas_hw, strict=True):
        room = canvas - size
        corner.append(int(rng.integers(room + 1)) if room >= 0 else room // 2)
    return corner[0], corner[1]
