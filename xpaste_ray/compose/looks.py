"""How an instance is pasted, whatever its size and place: mirrored, turned, coloured, blended."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xpaste_ray.compose.blend import MOTION_LENGTHS_PX
from xpaste_ray.compose.plan import Colour
from xpaste_ray.config import Blend, ComposeSettings


@dataclass(frozen=True, slots=True)
class Look:
    """The fields of a `Placement` that no rule of size or place decides."""

    flip: bool
    angle_deg: float
    blend: Blend
    motion: tuple[int, float] | None
    colour: Colour | None


def draw_looks(rng: np.random.Generator, count: int, settings: ComposeSettings) -> list[Look]:
    """All draws of all placements at once: a generator's call costs more than its numbers."""
    return [_look(draws, settings) for draws in rng.random((count, 10)).tolist()]


def _look(draws: Sequence[float], settings: ComposeSettings) -> Look:
    flip, angle, method, length, direction, jittered, *changes = draws
    blend = settings.blend[int(method * len(settings.blend))]
    motion = None
    if blend == "motion":
        motion = (MOTION_LENGTHS_PX[int(length * len(MOTION_LENGTHS_PX))], direction * 180)
    return Look(
        flip=flip < settings.flip_probability,
        angle_deg=(2 * angle - 1) * settings.rotation_deg,
        blend=blend,
        motion=motion,
        colour=_colour(changes, settings) if jittered < settings.colour.probability else None,
    )


def _colour(draws: Sequence[float], settings: ComposeSettings) -> Colour | None:
    """Factors 1 +- the largest change, as torchvision's ColorJitter has them; X-Paste, stage H."""
    most = settings.colour.jitter
    if not any(most):
        return None
    brightness, contrast, saturation, hue = ((2 * u - 1) * m for u, m in zip(draws, most, strict=True))
    return Colour(1 + brightness, 1 + contrast, 1 + saturation, hue)
