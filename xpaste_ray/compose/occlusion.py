"""What stays labelled when something covers it. An object of which nothing is left never stays.

The border of the image covers too: by rule `visible-fraction`, what of a pool instance lies outside is
lost. X-Paste's rule is asked of what is inside, as its code clips masks before it compares them.
Objects of backgrounds count as a view shows them: nobody knows how they went on outside a photo.
"""

from collections.abc import Callable
from typing import Protocol

from xpaste_ray.config import OcclusionSettings
from xpaste_ray.masks import BoxXYWH

_MAX_BOX_MOVE_PX = 10  # X-Paste, stage I
_MIN_AREA_PX = 300  # X-Paste, stage I: more than this


class Extent(Protocol):
    """An object's mask in numbers. Rules ask for the box only if they need it, as it may have to be found."""

    @property
    def area(self) -> int:
        """Its pixels; of a whole pool instance also those outside the image."""

    @property
    def box_xywh(self) -> BoxXYWH:
        """Around the pixels in the image."""


def _by_visible_fraction(full: Extent, visible: Extent, settings: OcclusionSettings) -> bool:
    return visible.area >= settings.min_visible_fraction * full.area


def _by_xpaste(full: Extent, visible: Extent, settings: OcclusionSettings) -> bool:
    """X-Paste asks after every paste; here it is asked once, of all that was lost in the end."""
    if visible.area > _MIN_AREA_PX:
        return True
    moved = max(abs(a - b) for a, b in zip(_corners(full), _corners(visible), strict=True))
    return moved <= _MAX_BOX_MOVE_PX


STAYS: dict[str, Callable[[Extent, Extent, OcclusionSettings], bool]] = {
    "visible-fraction": _by_visible_fraction,
    "xpaste": _by_xpaste,
}
"""By name: whether an object that was `full` stays now that it is `visible`."""


def _corners(extent: Extent) -> tuple[int, int, int, int]:
    x, y, width, height = extent.box_xywh
    return x, y, x + width, y + height
