"""Contact sheets: a pool's cut-outs to look at, category by category, on a checkerboard."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xpaste_ray.categories import Category, did_you_mean, name_key
from xpaste_ray.errors import ConfigError
from xpaste_ray.masks import resize_cutout
from xpaste_ray.pool.reader import Pool
from xpaste_ray.pool.stats import scores_of

MAX_PER_CATEGORY = 32
ROWS_PER_PAGE = 20

_TILE_PX, _GAP_PX = 128, 8
_STEP_PX = _TILE_PX + _GAP_PX
_MIN_COLUMNS, _TITLE_COLUMNS = 8, 2
_TITLE_PX, _CAPTION_PX = 24, 30  # a line above a row, two below a tile
_SQUARE_PX = 16
_LIGHT, _DARK = 236, 204


@dataclass(frozen=True, slots=True)
class Sheet:
    """One page. image: (H, W, 3) uint8 RGB; rows: how many instances of each category it shows."""

    image: np.ndarray
    rows: tuple[tuple[str, int], ...]

    @property
    def cells(self) -> int:
        return sum(count for _, count in self.rows)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A category of which `count` instances are there and those of `rows` are shown."""

    category: Category
    count: int
    rows: tuple[int, ...]

    @property
    def columns(self) -> int:
        return max(_TITLE_COLUMNS, len(self.rows))


def draw_sheets(pool: Pool, names: Sequence[str] = (), per_category: int = 8) -> Iterator[Sheet]:
    """Pages of bounded size, categories by id; all that have instances if no `names` are given.

    Of a category are shown the best, the worst and evenly many between by CLIP logit, best first: what a
    bar lets in shows at the right. ConfigError for an unknown name.
    """
    scores, rows = scores_of(pool, "clip_logit"), pool.rows_by_category
    sources = pool.column("source").to_pylist()
    shown: list[_Shown] = []
    for category in _named(pool, names):
        own = rows.get(category.id, np.array([], int))
        if names or len(own):
            shown.append(_Shown(category, len(own), tuple(_spread_over(own, scores, per_category))))
    columns = max(_MIN_COLUMNS, per_category)
    lines = _lines(shown, columns)
    for start in range(0, len(lines), ROWS_PER_PAGE):
        page = lines[start : start + ROWS_PER_PAGE]
        strips = [_line(pool, line, scores, sources, columns) for line in page]
        told = tuple((one.category.name, len(one.rows)) for line in page for one in line)
        yield Sheet(np.concatenate(strips), told)


def _lines(shown: Sequence[_Shown], columns: int) -> list[list[_Shown]]:
    """Categories side by side as long as there is room."""
    lines: list[list[_Shown]] = []
    room = 0
    for one in shown:
        if one.columns > room:
            lines.append([])
            room = columns
        lines[-1].append(one)
        room -= one.columns
    return lines


def _named(pool: Pool, names: Sequence[str]) -> list[Category]:
    by_key = {name_key(one.name): one for one in pool.categories}
    for name in names:
        if name_key(name) not in by_key:
            hint = did_you_mean(name, [one.name for one in pool.categories])
            raise ConfigError(f"--category {name}: the pool has no such category{hint}")
    wanted = {name_key(name) for name in names} if names else set(by_key)
    return sorted((one for key, one in by_key.items() if key in wanted), key=lambda one: one.id)


def _spread_over(rows: np.ndarray, scores: np.ndarray, count: int) -> list[int]:
    """Instance numbers, evenly over the ranks, best first; those without a score come last."""
    own = scores[rows]
    ranked = rows[np.lexsort((rows, -np.nan_to_num(own, nan=-np.inf)))]
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [int(row) for row in ranked[places]]


def _line(
    pool: Pool, line: Sequence[_Shown], scores: np.ndarray, sources: Sequence[str], columns: int
) -> np.ndarray:
    """Categories with their titles and tiles, (H, W, 3) uint8."""
    size = _GAP_PX + columns * _STEP_PX, _TITLE_PX + _TILE_PX + _CAPTION_PX
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    left = _GAP_PX
    for one in line:
        title = f"{one.category.name} ({one.category.id}): {len(one.rows)} of {one.count}"
        draw.text((left, 4), fitting_text(title, one.columns * _STEP_PX - _GAP_PX, 14), "black", font(14))
        for place, row in enumerate(one.rows):
            x = left + place * _STEP_PX
            canvas.paste(Image.fromarray(_tile(pool.instance(row).rgba)), (x, _TITLE_PX))
            score = "no score" if np.isnan(scores[row]) else f"{scores[row]:.1f}"
            for number, text in enumerate((score, sources[row])):
                at = (x, _TITLE_PX + _TILE_PX + 2 + 13 * number)
                draw.text(at, fitting_text(text, _TILE_PX, 11), "black", font(11))
        left += one.columns * _STEP_PX
    return np.asarray(canvas)


def _tile(rgba: np.ndarray) -> np.ndarray:
    """A cut-out on a checkerboard, no larger than it is, (S, S, 3) uint8."""
    shrink = min(1.0, _TILE_PX / max(rgba.shape[:2]))
    height, width = (max(1, round(side * shrink)) for side in rgba.shape[:2])
    small = resize_cutout(rgba, (height, width))
    y, x = np.mgrid[:_TILE_PX, :_TILE_PX] // _SQUARE_PX
    tile = np.repeat(np.where((y + x) % 2, _DARK, _LIGHT).astype(np.uint8)[..., None], 3, axis=2)
    top, left = (_TILE_PX - height) // 2, (_TILE_PX - width) // 2
    part = tile[top : top + height, left : left + width]
    weight = cv2.merge([small[..., 3]] * 3).astype(np.float32) / 255
    part[:] = (small[..., :3] * weight + part * (1 - weight) + 0.5).astype(np.uint8)
    return tile


def fitting_text(text: str, width_px: int, size: int) -> str:
    """A line that the font can draw in this width, cut if it is longer."""
    plain = "".join(" " if unicodedata.category(sign).startswith("C") else sign for sign in text)
    if not isinstance(font(size), ImageFont.FreeTypeFont):  # Pillow's bitmap font knows Latin-1 only
        plain = plain.encode("latin-1", "replace").decode("latin-1")
    plain = plain[: width_px // 2]  # no sign is narrower
    while len(plain) > 1 and font(size).getlength(plain) > width_px:
        plain = plain[:-2] + "…" if isinstance(font(size), ImageFont.FreeTypeFont) else plain[:-1]
    return plain


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
