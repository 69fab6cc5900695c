"""The full decision for one composed image, as data.

A plan can be stored, inspected and rendered again. Only planning draws random numbers.
"""

from dataclasses import dataclass

import numpy as np

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.compose.placement import inside
from xpaste_ray.compose.sampling import balanced_rows
from xpaste_ray.compose.sizes import uniform_size_hw
from xpaste_ray.config import ComposeSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.masks import BoxXYWH
from xpaste_ray.pool import Pool
from xpaste_ray.rng import rng_for


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one pool instance lands, in pixels of the composed image."""

    instance_id: str
    category_id: int
    size_hw: tuple[int, int]
    top_left_yx: tuple[int, int]
    flip: bool


@dataclass(frozen=True, slots=True)
class PastePlan:
    """crop_xywh: the part of the background that fills the image, in background pixels."""

    sample: int
    background_id: str
    crop_xywh: BoxXYWH
    side_px: int
    placements: tuple[Placement, ...]  # painted in this order; the last one is on top


def make_plan(
    pool: Pool, backgrounds: Backgrounds, options: ComposeSettings, seed: int, sample: int
) -> PastePlan:
    """Plan sample number `sample`. It depends on the arguments alone, not on any other sample.

    Number uniform in `instances`; categories balanced, instances uniform within (X-Paste's
    cas_random); sizes uniform; places wholly inside the image. ConfigError if the pool is empty.
    """
    if not len(pool):
        raise ConfigError(f"{pool.folder}: the pool is empty: loosen the selection or make more candidates")
    rng = rng_for(seed, "plan", sample)
    background = backgrounds.images[rng.integers(len(backgrounds))]
    crop = _square_crop(rng, background.size_hw)
    count = int(rng.integers(options.instances[0], options.instances[1] + 1))
    placements = []
    for row in balanced_rows(rng, pool, count):
        size_hw = uniform_size_hw(rng, pool.size_hw(row), options.size_fraction, options.side_px)
        placements.append(
            Placement(
                instance_id=pool.instance_ids[row],
                category_id=pool.category_id(row),
                size_hw=size_hw,
                top_left_yx=inside(rng, size_hw, (options.side_px, options.side_px)),
                flip=bool(rng.random() < options.flip_probability),
            )
        )
    return PastePlan(sample, background.id, crop, options.side_px, tuple(placements))


def _square_crop(rng: np.random.Generator, size_hw: tuple[int, int]) -> BoxXYWH:
    """A random square, at least half of the image's shorter side."""
    height, width = size_hw
    shorter = min(height, width)
    side = int(rng.integers((shorter + 1) // 2, shorter + 1))
    return int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1)), side, side
