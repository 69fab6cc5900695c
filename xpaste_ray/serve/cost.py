"""What composing takes, told before it begins: a request that would hold a core for long is refused.

Seconds are of one core, by constants that were measured where they are worst, at sides of 2,048 px; what
takes less than a second whatever is asked for, such as encoding an image, is left out.
"""

from collections.abc import Iterable, Iterator

from xpaste_ray.compose.compositor import consecutive
from xpaste_ray.compose.patch import mask_kernel_px, turned_size_hw
from xpaste_ray.compose.plan import PastePlan, Placement
from xpaste_ray.config import ComposeSettings

# Seconds a megapixel of the rectangle that is pasted
_PASTED = 0.03
_POISSON = 1.0
_KERNEL_PX = 8e-5  # and a pixel of the kernel by which a mask is dilated or eroded
_FREE_CIRCLE = 0.014  # a megapixel of canvas and an instance: `place.rule=space-maximize`

_PIECE_S = 1.0


def compose_seconds(plan: PastePlan) -> float:
    """What painting and annotating takes."""
    return sum(_placement_seconds(placement, plan.mask_rate) for placement in plan.placements)


def planning_seconds(settings: ComposeSettings, canvas_hw: tuple[int, int], instances: int) -> float:
    """What planning an image takes with so many instances drawn."""
    if settings.place.rule != "space-maximize" or settings.layout != "free":
        return 0.0
    return canvas_hw[0] * canvas_hw[1] / 1e6 * instances * _FREE_CIRCLE


def pieces(plans: Iterable[PastePlan]) -> Iterator[list[PastePlan]]:
    """Consecutive plans that take about a second together, or one that takes longer."""
    return consecutive(plans, compose_seconds, _PIECE_S)


def planned_at_a_time(seconds: float) -> int:
    """Images, each of which takes so long to plan, that are planned in about a second."""
    return max(1, int(_PIECE_S / max(seconds, 1e-3)))


def _placement_seconds(placement: Placement, mask_rate: float) -> float:
    height, width = turned_size_hw(placement.size_hw, placement.angle_deg)
    kernel_px = mask_kernel_px((height, width), mask_rate)
    if mask_rate > 1:
        height, width = height + kernel_px, width + kernel_px
    poisson = _POISSON if placement.blend == "poisson" else 0.0
    return height * width / 1e6 * (_PASTED + poisson + _KERNEL_PX * kernel_px)
