"""A contact sheet of the images that are predicted best and worst: the truth left, the predictions right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from xpaste_ray.evaluation.image_score import SURE_FROM, rank_images
from xpaste_ray.evaluation.predictions import Prediction
from xpaste_ray.evaluation.truth import Truth, TruthImage
from xpaste_ray.pool.sheet import fitting_text, font
from xpaste_ray.preview import category_colour, draw_label

_TILE_PX, _GAP_PX, _HALVES_PX = 240, 12, 4  # between pairs, and between the two of a pair
_PAIR_PX = 2 * _TILE_PX + _HALVES_PX
_TITLE_PX, _CAPTION_PX = 30, 20
_COLUMNS = 3
_TINT = 0.35


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A mask, in the whole image, and what stands at its box."""

    category_id: int
    rle: dict[str, object]
    label: str


def draw_sheet(
    truth: Truth,
    predictions: Sequence[Prediction],
    load: Callable[[int], np.ndarray],
    names: Sequence[str],
    count: int = 9,
) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the `count` best and worst images by `image_score`, or all if there are fewer.

    load: the pixels of a row of the backgrounds, (H, W, 3) uint8 RGB. names: of the rows. Above a pair stand
    the score and the name; predictions are drawn from a score of `SURE_FROM` on.
    """
    ranked = rank_images(truth, predictions)
    best = ranked[: min(count, -(-len(ranked) // 2))]
    worst = ranked[len(best) :][-count:][::-1]
    shown = {image.id for image, _ in (*best, *worst)}
    found: dict[int, list[Prediction]] = {number: [] for number in shown}
    for one in predictions:
        if one.image_id in shown and one.score >= SURE_FROM:
            found[one.image_id].append(one)
    known = {category.id: category.name for category in truth.categories}

    def pair(image: TruthImage, score: float) -> Image.Image:
        tiles = _tiles(image, found[image.id], load(image.row), known)
        return _captioned(tiles, f"{score:.2f}  {names[image.row]}")

    parts = [
        _section(title, [pair(image, score) for image, score in some])
        for title, some in (("best", best), ("worst", worst))
    ]
    return np.concatenate(parts)


def _tiles(
    image: TruthImage, predictions: Sequence[Prediction], pixels: np.ndarray, names: Mapping[int, str]
) -> tuple[np.ndarray, np.ndarray]:
    objects = [
        _Drawn(one.category_id, one.rle, f"{names[one.category_id]}{' (crowd)' if one.is_crowd else ''}")
        for one in image.objects
    ]
    found = [
        _Drawn(one.category_id, one.rle, f"{names[one.category_id]} {one.score:.2f}")
        for one in sorted(predictions, key=lambda one: one.score)  # the surest on top
    ]
    return _tile(pixels, objects), _tile(pixels, found)


def _tile(pixels: np.ndarray, drawn: Sequence[_Drawn]) -> np.ndarray:
    """(S, S, 3) uint8: the whole image, small, then masks and outlines, names on top."""
    scale = _TILE_PX / max(pixels.shape[:2])
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(pixels, (width, height), interpolation=how)
    masks = [
        cv2.resize(coco_mask.decode(one.rle) * 255, (width, height), interpolation=how) > 127 for one in drawn
    ]
    for one, mask in zip(drawn, masks, strict=True):
        colour = category_colour(one.category_id)[::-1]
        small[mask] = ((1 - _TINT) * small[mask] + _TINT * np.array(colour)).astype(np.uint8)
        outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(small, outline, -1, colour, 1)
    tile = np.full((_TILE_PX, _TILE_PX, 3), 255, np.uint8)
    tile[:height, :width] = small
    for one, mask in zip(drawn, masks, strict=True):
        if mask.any():
            box = [float(side) for side in cv2.boundingRect(mask.astype(np.uint8))]
            draw_label(tile, box, one.label, category_colour(one.category_id)[::-1])
    return tile


def _captioned(tiles: tuple[np.ndarray, np.ndarray], caption: str) -> Image.Image:
    canvas = Image.new("RGB", (_PAIR_PX, _CAPTION_PX + _TILE_PX), "white")
    ImageDraw.Draw(canvas).text((0, 2), fitting_text(caption, _PAIR_PX, 13), "black", font(13))
    for place, tile in enumerate(tiles):
        canvas.paste(Image.fromarray(tile), (place * (_TILE_PX + _HALVES_PX), _CAPTION_PX))
    return canvas


def _section(title: str, pairs: Sequence[Image.Image]) -> np.ndarray:
    lines = -(-len(pairs) // _COLUMNS)
    step_x, step_y = _PAIR_PX + _GAP_PX, _CAPTION_PX + _TILE_PX + _GAP_PX
    canvas = Image.new("RGB", (_GAP_PX + _COLUMNS * step_x, _TITLE_PX + lines * step_y), "white")
    told = f"{title}: truth left, predictions of a score from {SURE_FROM} on right"
    ImageDraw.Draw(canvas).text((_GAP_PX, 6), told, "black", font(16))
    for number, pair in enumerate(pairs):
        line, column = divmod(number, _COLUMNS)
        canvas.paste(pair, (_GAP_PX + column * step_x, _TITLE_PX + line * step_y))
    return np.asarray(canvas)
