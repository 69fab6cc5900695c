"""How large a pasted instance becomes."""

import numpy as np


def uniform_size_hw(
    rng: np.random.Generator, size_hw: tuple[int, int], fraction: tuple[float, float], side_px: int
) -> tuple[int, int]:
    """The longer side uniform in `fraction` of the image's side, the aspect ratio kept, 2 px at least."""
    longer = rng.uniform(*fraction) * side_px
    scale = longer / max(size_hw)
    return max(2, round(size_hw[0] * scale)), max(2, round(size_hw[1] * scale))
