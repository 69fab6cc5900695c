"""A picture of how segments were found: image, class activation, proposals, choice before and after EM."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_TILE_PX, _GAP_PX, _TITLE_PX, _CAPTION_PX = 192, 6, 22, 18
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TITLES = ("image", "Grad-CAM", "proposals", "chosen in step 1", "chosen after EM")
_COLOURS = ((230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (0, 160, 160))
_CHOSEN = (255, 220, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A category of an image. image: (H, W, 3) uint8 RGB. activation: (H, W) float32, any scale of 0 and
    above; centre_yx: its centre of gravity, in pixels, None if it has none. proposals: (H, W) bool each.
    first, last: places among them of what step 1 and the loop chose; None for nothing."""

    category: str
    image: np.ndarray
    activation: np.ndarray
    centre_yx: tuple[float, float] | None
    proposals: Sequence[np.ndarray]
    first: int | None
    last: int | None


def draw_found(found: Sequence[Found]) -> np.ndarray:
    """(H, W, 3) uint8 RGB, a row for each. ValueError if there is none."""
    if not found:
        raise ValueError("nothing to draw")
    width = _GAP_PX + len(_TITLES) * (_TILE_PX + _GAP_PX)
    title = np.full((_TITLE_PX, width, 3), 255, np.uint8)
    for place, text in enumerate(_TITLES):
        _write(title, text, _left(place), 15)
    return np.concatenate([title, *(_row(one, width) for one in found)])


def _row(one: Found, width: int) -> np.ndarray:
    row = np.full((_TILE_PX + _CAPTION_PX, width, 3), 255, np.uint8)
    tiles = (one.image, _heated(one), _outlined(one), _marked(one, one.first), _marked(one, one.last))
    for place, tile in enumerate(tiles):
        left = _left(place)
        row[:_TILE_PX, left : left + _TILE_PX] = _fitted(tile)
    _write(row, one.category, _left(0), _TILE_PX + 13)
    if one.first == one.last:
        _write(row, "the same", _left(4), _TILE_PX + 13)
    return row


def _left(place: int) -> int:
    return _GAP_PX + place * (_TILE_PX + _GAP_PX)


def _fitted(image: np.ndarray) -> np.ndarray:
    """In the middle of a white tile."""
    scale = _TILE_PX / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = np.full((_TILE_PX, _TILE_PX, 3), 255, np.uint8)
    top, left = (_TILE_PX - height) // 2, (_TILE_PX - width) // 2
    tile[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=mode)
    return tile


def _heated(one: Found) -> np.ndarray:
    """The activation over the grey image, and a cross at its centre."""
    top = float(one.activation.max(initial=0.0))
    heat: np.ndarray = (255 * np.clip(one.activation / max(top, 1e-12), 0, 1)).astype(np.uint8)
    coloured = cv2.applyColorMap(heat, cv2.COLORMAP_JET)[..., ::-1]
    grey = cv2.cvtColor(cv2.cvtColor(one.image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mixed = np.ascontiguousarray((0.5 * grey + 0.5 * coloured).astype(np.uint8))
    if one.centre_yx is not None:
        at = round(one.centre_yx[1]), round(one.centre_yx[0])
        size = max(6, max(one.image.shape[:2]) // 16)
        cv2.drawMarker(mixed, at, (255, 255, 255), cv2.MARKER_CROSS, size, max(1, size // 6))
    return mixed


def _outlined(one: Found) -> np.ndarray:
    drawn = one.image.copy()
    for number, mask in enumerate(one.proposals):
        _outline(drawn, mask, _COLOURS[number % len(_COLOURS)], 1)
    return drawn


def _marked(one: Found, place: int | None) -> np.ndarray:
    """All but the chosen segment darkened; the whole image, if there is none."""
    drawn = (0.35 * one.image).astype(np.uint8)
    if place is not None:
        mask = one.proposals[place]
        drawn[mask] = one.image[mask]
        _outline(drawn, mask, _CHOSEN, max(1, max(mask.shape) // 96))
    return drawn


def _outline(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], thickness: int) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, contours, -1, colour, thickness)


def _write(canvas: np.ndarray, text: str, left: int, baseline: int) -> None:
    cv2.putText(canvas, text, (left, baseline), _FONT, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
