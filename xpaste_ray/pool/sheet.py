"""Contact sheets: a pool's cut-outs to look at, a row a category, on a checkerboard."""

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


def draw_sheets(pool: Pool, names: Sequence[str] = (), per_category: int = 8) -> Iterator[Sheet]:
    """Pages of at most 20 categories, by category id; all that have instances if no `names` are given.

    Of a category are shown the best, the worst and evenly many between by CLIP logit, best first: what a
    bar lets in shows at the right. ConfigError for an unknown name.
    """
    scores, rows = scores_of(pool, "clip_logit"), pool.rows_by_category
    chosen = [one for one in _named(pool, names) if names or one.id in rows]
    for start in range(0, len(chosen), ROWS_PER_PAGE):
        page = chosen[start : start + ROWS_PER_PAGE]
        shown = [_spread_over(rows.get(one.id, np.array([], int)), scores, per_category) for one in page]
        width = _GAP_PX + (_TILE_PX + _GAP_PX) * max(1, *map(len, shown), 1)
        strips = [
            _strip(pool, category, own, len(rows.get(category.id, ())), scores, width)
            for category, own in zip(page, shown, strict=True)
        ]
        told = tuple((one.name, len(own)) for one, own in zip(page, shown, strict=True))
        yield Sheet(np.concatenate(strips), told)


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


def _strip(
    pool: Pool, category: Category, shown: Sequence[int], count: int, scores: np.ndarray, width: int
) -> np.ndarray:
    """One category's title and tiles, (H, width, 3) uint8."""
    height = _TITLE_PX + _TILE_PX + _CAPTION_PX
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    title = f"{category.name} ({category.id}): {len(shown)} of {count}"
    draw.text((_GAP_PX, 4), _fitting(title, width - 2 * _GAP_PX, 14), "black", _font(14))
    sources = pool.column("source")
    for place, row in enumerate(shown):
        left = _GAP_PX + place * (_TILE_PX + _GAP_PX)
        canvas.paste(Image.fromarray(_tile(pool.instance(row).rgba)), (left, _TITLE_PX))
        score = "no score" if np.isnan(scores[row]) else f"{scores[row]:.1f}"
        for line, text in enumerate((score, str(sources[row]))):
            at = (left, _TITLE_PX + _TILE_PX + 2 + 13 * line)
            draw.text(at, _fitting(text, _TILE_PX, 11), "black", _font(11))
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


def _fitting(text: str, width_px: int, size: int) -> str:
    """A line that the font can draw in this width, cut if it is longer."""
    plain = "".join(" " if unicodedata.category(sign).startswith("C") else sign for sign in text)
    if not isinstance(_font(size), ImageFont.FreeTypeFont):  # Pillow's bitmap font knows Latin-1 only
        plain = plain.encode("latin-1", "replace").decode("latin-1")
    plain = plain[: width_px // 2]  # no sign is narrower
    while len(plain) > 1 and _font(size).getlength(plain) > width_px:
        plain = plain[:-2] + "…" if isinstance(_font(size), ImageFont.FreeTypeFont) else plain[:-1]
    return plain


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
