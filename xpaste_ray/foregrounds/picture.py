"""A picture to look at: what F-EM was shown of some images, and what it chose before and after."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

COLUMNS = ("image", "Grad-CAM", "proposals", "step 1", "after EM")

TILE_PX = 192
_GAP_PX, _TITLE_PX, _CAPTION_PX = 8, 24, 20
_STEP_PX = TILE_PX + _GAP_PX
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_CHOSEN = (0, 210, 90)
_OUTLINES = ((230, 60, 60), (60, 120, 230), (240, 170, 30), (170, 70, 200), (40, 180, 180))
_HEAT = 0.6  # of the heat's colours over the image
_DIMMED = 0.3  # what was not chosen


@dataclass(frozen=True, slots=True, eq=False)
class ForegroundRow:
    """One image and one of its categories.

    image: (H, W, 3) uint8 RGB. heat: (H, W) float, 0 and above, the category's activation. centre_yx: where
    its centre of gravity is, in pixels. proposals: (H, W) bool each. before, after: the chosen one, None
    where there is none.
    """

    category: str
    image: np.ndarray
    heat: np.ndarray
    centre_yx: tuple[float, float]
    proposals: Sequence[np.ndarray]
    before: np.ndarray | None
    after: np.ndarray | None


def draw_foregrounds(rows: Sequence[ForegroundRow]) -> np.ndarray:
    """A line a row, its columns as `COLUMNS`: (H, W, 3) uint8 RGB.

    ValueError without rows, and for a mask or an activation of another size than its image.
    """
    if not rows:
        raise ValueError("there is no row to draw")
    return np.concatenate([_titles(), *(_line(row) for row in rows)])


def _titles() -> np.ndarray:
    return _texts(COLUMNS, _TITLE_PX)


def _line(row: ForegroundRow) -> np.ndarray:
    for part in (row.heat, *row.proposals, row.before, row.after):
        if part is not None and part.shape != row.image.shape[:2]:
            raise ValueError(f"{row.category}: {part.shape} for an image of {row.image.shape[:2]}")
    tiles = (
        _tile(row.image),
        _with_centre(_tile(_heated(row.image, row.heat)), row),
        _outlined(row.image, row.proposals),
        _chosen(row.image, row.before),
        _chosen(row.image, row.after),
    )
    strip = np.full((TILE_PX, _GAP_PX + len(tiles) * _STEP_PX, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        left = _GAP_PX + place * _STEP_PX
        strip[:, left : left + TILE_PX] = tile
    captions = (row.category, "", str(len(row.proposals)), _told(row.before), _after(row))
    return np.concatenate([strip, _texts(captions, _CAPTION_PX)])


def _told(mask: np.ndarray | None) -> str:
    return "none" if mask is None else f"{100 * mask.mean():.0f} % of the image"


def _after(row: ForegroundRow) -> str:
    """Says also whether it is another one than before."""
    if row.before is None or row.after is None:
        return _told(row.after)
    same = np.array_equal(row.before, row.after)
    return "the same" if same else _told(row.after)


def _texts(texts: Sequence[str], height_px: int) -> np.ndarray:
    """A line with a text above or below each column; what is too long is cut."""
    strip = np.full((height_px, _GAP_PX + len(COLUMNS) * _STEP_PX, 3), 255, np.uint8)
    for place, text in enumerate(texts):
        left = _GAP_PX + place * _STEP_PX
        cell = np.full((height_px, TILE_PX, 3), 255, np.uint8)
        cv2.putText(cell, text, (0, height_px - 7), _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
        strip[:, left : left + TILE_PX] = cell
    return strip


def _scale(image: np.ndarray) -> float:
    """Pixels of a tile for each of the image."""
    height, width = image.shape[:2]
    return TILE_PX / max(int(height), int(width))


def _tile(image: np.ndarray) -> np.ndarray:
    """The image as large as fits, at the top left of a white square."""
    scale = _scale(image)
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    tile = np.full((TILE_PX, TILE_PX, 3), 255, np.uint8)
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    tile[:height, :width] = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=mode)
    return tile


def _heated(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Blue where there is none, red at the map's maximum."""
    peak = float(heat.max())
    level = np.rint(255 * (heat / peak if peak > 0 else heat)).astype(np.uint8)
    colours = cv2.applyColorMap(level, cv2.COLORMAP_JET)[..., ::-1]
    return np.rint((1 - _HEAT) * image + _HEAT * colours).astype(np.uint8)


def _with_centre(tile: np.ndarray, row: ForegroundRow) -> np.ndarray:
    y, x = (round((value + 0.5) * _scale(row.image) - 0.5) for value in row.centre_yx)
    cv2.drawMarker(tile, (x, y), (0, 0, 0), cv2.MARKER_CROSS, 15, 4)
    cv2.drawMarker(tile, (x, y), (255, 255, 255), cv2.MARKER_CROSS, 13, 2)
    return tile


def _outlined(image: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """Each in the next of a few colours."""
    tile = _tile(image)
    for place, mask in enumerate(masks):
        _outline(tile, mask, _OUTLINES[place % len(_OUTLINES)])
    return tile


def _chosen(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The mask in its own light, all else dimmed."""
    shown = np.zeros(image.shape[:2], bool) if mask is None else mask
    dimmed = np.rint(_DIMMED * image).astype(np.uint8)
    tile = _tile(np.where(shown[..., None], image, dimmed))
    if mask is not None:
        _outline(tile, mask, _CHOSEN)
    return tile


def _outline(tile: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    scale = _scale(mask)
    size_wh = tuple(max(1, round(side * scale)) for side in mask.shape[::-1])
    large = cv2.resize(mask.astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, contours, -1, colour, 1)
