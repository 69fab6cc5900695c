"""What the tests of segmenters show them."""

import numpy as np

from xpaste_ray.models.segmenters import Shown
from xpaste_ray.stages.batches import ShapedBatches


def shown(number, size_hw=(64, 64), category="bus_(vehicle)"):
    """Noise, another for every number."""
    image = np.random.default_rng(number).integers(0, 256, (*size_hw, 3), np.uint8)
    return Shown(f"candidate-{number}", category, image)


def batched(method):
    """As the stage calls it."""
    return ShapedBatches(method, method.micro_batch, "failed", lambda one: one.candidate_id)
