"""How large a pasted instance becomes."""

import math

from xpaste_ray.compose.plan import SizeHW
from xpaste_ray.config import SizeSettings


def draw_size_hw(
    own_hw: SizeHW,
    canvas_hw: SizeHW,
    settings: SizeSettings,
    usual: tuple[float, float],
    normal: float,
    uniform: float,
) -> SizeHW:
    """The size by the rule (all but `circle`), not yet checked.

    own_hw: the cut-out's; usual: mean and std for rule `prior`; normal, uniform: the draws it uses.
    """
    height, width = own_hw
    if settings.rule == "prior":
        return _prior_size_hw(own_hw, canvas_hw, settings, usual, normal, uniform)
    if settings.rule == "pixels":
        return _pixels_size_hw(width / height, settings, uniform)
    low, high = settings.factor
    factor = low + uniform * (high - low)
    if settings.rule == "image":
        factor *= min(canvas_hw) / max(own_hw)
    return _whole(height * factor, width * factor)


def _prior_size_hw(
    own_hw: SizeHW,
    canvas_hw: SizeHW,
    settings: SizeSettings,
    usual: tuple[float, float],
    normal: float,
    uniform: float,
) -> SizeHW:
    """Source: X-Paste, stage G, with its truncations: the height follows from the truncated width.

    A side below one pixel becomes one (there: 0, and then rejected as it is here).
    """
    share = clipped_share(canvas_hw, settings, usual, normal)
    low, high = settings.aspect_jitter
    aspect = own_hw[1] / own_hw[0] * (low + uniform * (high - low))
    width = int(math.sqrt(aspect * share * share * canvas_hw[0] * canvas_hw[1]))
    return max(1, int(width / aspect)), max(1, width)


def _pixels_size_hw(aspect: float, settings: SizeSettings, uniform: float) -> SizeHW:
    """Both sides in `pixels`: the longer one is uniform over all that keep the shorter one inside.

    aspect: width / height, moved to the nearest that `aspect` and `pixels` allow. Source: X-Paste's
    summary, which gives the two ranges and not how they go together.
    """
    low, high = settings.pixels
    aspect = min(max(aspect, settings.aspect[0], low / high), settings.aspect[1], high / low)
    shortest = low * max(aspect, 1 / aspect)
    longer = shortest + uniform * (high - shortest)
    return _whole(longer, longer * aspect) if aspect < 1 else _whole(longer / aspect, longer)


def clipped_share(
    canvas_hw: SizeHW, settings: SizeSettings, usual: tuple[float, float], normal: float
) -> float:
    """The share of the side, between `min_px` of the canvas' height and `max_fraction`."""
    mean, std = usual
    return min(max(mean + normal * std, settings.min_px / canvas_hw[0]), settings.max_fraction)


def cutout_problem(own_hw: SizeHW, settings: SizeSettings) -> str | None:
    """Why a cut-out is not pasted at any size, if it is not. Source: EM-Paste's code."""
    return "small_cutout" if own_hw[0] * own_hw[1] < settings.min_cutout_area_px else None


def size_problem(size_hw: SizeHW, canvas_hw: SizeHW, settings: SizeSettings) -> str | None:
    """Why an instance of this size is not pasted, if it is not. Source: X-Paste, stage G."""
    if min(size_hw) < settings.min_side_px:
        return "too_small"
    return "too_large" if size_hw[0] >= canvas_hw[0] or size_hw[1] >= canvas_hw[1] else None


def _whole(height: float, width: float) -> SizeHW:
    return max(1, round(height)), max(1, round(width))
