"""Contact sheets of contexts: an image, its captions, what they became, what was kept of it and what not."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from xpaste_ray.pool.sheet import fitting_text, font

_TILE_PX, _GAP_PX, _FRAME_PX = 112, 8, 3
_STEP_PX = _TILE_PX + _GAP_PX
_TITLE_PX, _LINE_PX, _BELOW_PX = 22, 16, 28
_TEXT_PX = 13
_TEXTS_PER_PAGE = 12
_MIN_COLUMNS = 4
_KEPT, _DROPPED, _EMPTY = (30, 140, 60), (200, 60, 50), (225, 225, 225)


@dataclass(frozen=True, slots=True)
class ShownImage:
    """A generated image. pixels: (H, W, 3) uint8 RGB, or None where there are none. scores: a line of them.
    reason: why it was dropped; None if it was kept."""

    pixels: np.ndarray | None
    scores: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class ShownText:
    """A caption, what it became, and the images of that; reason: why it has none."""

    caption: str
    text: str | None
    reason: str | None
    images: tuple[ShownImage, ...]


@dataclass(frozen=True, slots=True)
class ShownSource:
    """An image and its captions. pixels: as of `ShownImage`."""

    name: str
    pixels: np.ndarray | None
    texts: tuple[ShownText, ...]


def draw_sheets(sources: Iterable[ShownSource]) -> Iterator[np.ndarray]:
    """Pages of some captions each, (H, W, 3) uint8 RGB. Kept images have a green frame, others a red one."""
    page: list[ShownSource] = []
    for source in sources:
        if page and sum(len(one.texts) for one in [*page, source]) > _TEXTS_PER_PAGE:
            yield _page(page)
            page = []
        page.append(source)
    if page:
        yield _page(page)


def _page(sources: Sequence[ShownSource]) -> np.ndarray:
    most = max((len(text.images) for source in sources for text in source.texts), default=0)
    columns = 1 + max(_MIN_COLUMNS, most)
    return np.concatenate([_strip(source, columns) for source in sources])


def _strip(source: ShownSource, columns: int) -> np.ndarray:
    heights = [_height(text) for text in source.texts]
    height = _TITLE_PX + max(_TILE_PX + _GAP_PX, sum(heights))
    canvas = Image.new("RGB", (_GAP_PX + columns * _STEP_PX, height), "white")
    draw = ImageDraw.Draw(canvas)
    width = columns * _STEP_PX - _GAP_PX
    draw.text((_GAP_PX, 3), fitting_text(source.name, width, 14), "black", font(14))
    canvas.paste(Image.fromarray(_tile(source.pixels)), (_GAP_PX, _TITLE_PX))
    top = _TITLE_PX
    for text, used in zip(source.texts, heights, strict=True):
        _draw_text(canvas, text, (_GAP_PX + _STEP_PX, top), width - _STEP_PX)
        top += used
    return np.asarray(canvas)


def _height(text: ShownText) -> int:
    return _LINE_PX * len(_lines(text)) + (_TILE_PX + _BELOW_PX if text.images else 0) + _GAP_PX


def _lines(text: ShownText) -> list[tuple[str, str | tuple[int, int, int]]]:
    """What stands above the images, with its colour."""
    lines: list[tuple[str, str | tuple[int, int, int]]] = [(text.caption, "black")]
    if text.text is not None and text.text != text.caption:
        lines.append((f"-> {text.text}", (40, 70, 170)))
    if text.reason is not None:
        lines.append((text.reason, _DROPPED))
    return lines


def _draw_text(canvas: Image.Image, text: ShownText, at: tuple[int, int], width: int) -> None:
    draw = ImageDraw.Draw(canvas)
    left, top = at
    for line, colour in _lines(text):
        draw.text((left, top), fitting_text(line, width, _TEXT_PX), colour, font(_TEXT_PX))
        top += _LINE_PX
    for place, image in enumerate(text.images):
        x, colour = left + place * _STEP_PX, _KEPT if image.reason is None else _DROPPED
        canvas.paste(Image.fromarray(_tile(image.pixels, colour)), (x, top))
        for number, line in enumerate((image.scores, image.reason or "kept")):
            below = (x, top + _TILE_PX + 1 + 12 * number)
            draw.text(below, fitting_text(line, _TILE_PX, 10), colour, font(10))


def _tile(pixels: np.ndarray | None, frame: tuple[int, int, int] | None = None) -> np.ndarray:
    """(S, S, 3) uint8: the whole image in the middle, grey where there is none, in a frame."""
    tile = np.full((_TILE_PX, _TILE_PX, 3), _EMPTY, np.uint8)
    if pixels is not None:
        scale = (_TILE_PX - 2 * _FRAME_PX) / max(pixels.shape[:2])
        height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        top, left = (_TILE_PX - height) // 2, (_TILE_PX - width) // 2
        tile[top : top + height, left : left + width] = cv2.resize(pixels, (width, height), interpolation=how)
    if frame:
        cv2.rectangle(tile, (0, 0), (_TILE_PX - 1, _TILE_PX - 1), frame, _FRAME_PX)
    return tile
