"""A picture to look at: composed images with their masks, boxes and names drawn on them."""

import colorsys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.contract import DatasetSpec, read_spec
from xpaste_ray.formats.dataset import read_images
from xpaste_ray.formats.shards import read_fragment
from xpaste_ray.runs import write_whole
from xpaste_ray.samples import Sample

_TILE_PX = 256
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_preview(dataset: Path, out_file: Path, columns: int = 6, rows: int = 4) -> None:
    """A grid of the dataset's first images, as JPEG. ConfigError if an image is not readable."""
    spec = read_spec(dataset)
    names = {category.id: category.name for category in spec.categories}
    pairs = islice(_pairs(dataset, spec), columns * rows)
    tiles = [draw_sample(sample, data, names) for sample, data in pairs]
    tiles += [np.full((_TILE_PX, _TILE_PX, 3), 255, np.uint8)] * (-len(tiles) % columns)
    strips = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    ok, data = cv2.imencode(".jpg", np.concatenate(strips), [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not ok:
        raise ValueError("OpenCV could not encode the preview")
    write_whole(out_file, bytes(data))


def _pairs(dataset: Path, spec: DatasetSpec) -> Iterator[tuple[Sample, bytes]]:
    for shard in spec.shards:
        yield from zip(read_fragment(dataset, shard).samples, read_images(dataset, shard, spec), strict=True)


def draw_sample(sample: Sample, data: bytes, names: Mapping[int, str], side_px: int = _TILE_PX) -> np.ndarray:
    """One square tile, (S, S, 3) uint8 BGR: mask outlines and tints first, then boxes and names on top.

    data: the sample's encoded image. ConfigError if it is not readable."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ConfigError(f"the image of sample {sample.index} is not readable: compose the dataset again")
    scale = side_px / max(image.shape[:2])
    for annotation in sample.annotations:
        mask = coco_mask.decode(annotation.segmentation).astype(bool)
        colour = category_colour(annotation.category_id)
        image[mask] = (0.8 * image[mask] + 0.2 * np.array(colour)).astype(np.uint8)
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, contours, -1, colour, 1)
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    tile = np.full((side_px, side_px, 3), 255, np.uint8)
    tile[:height, :width] = cv2.resize(image, (width, height), interpolation=mode)
    for annotation in sample.annotations:
        colour, box = category_colour(annotation.category_id), [side * scale for side in annotation.bbox]
        draw_label(tile, box, names[annotation.category_id], colour)
    cv2.rectangle(tile, (0, 0), (side_px - 1, side_px - 1), (255, 255, 255), 1)
    return tile


def draw_label(tile: np.ndarray, box_xywh: list[float], name: str, colour: tuple[int, ...]) -> None:
    """Draw a box, in the tile's pixels, with a plate above it that has the name."""
    left, top = round(box_xywh[0]), round(box_xywh[1])
    right, bottom = round(box_xywh[0] + box_xywh[2]) - 1, round(box_xywh[1] + box_xywh[3]) - 1
    cv2.rectangle(tile, (left, top), (right, bottom), colour, 1)
    (width, height), _ = cv2.getTextSize(name, _FONT, 0.35, 1)
    x, y = max(0, min(left, tile.shape[1] - width - 2)), max(top, height + 4)
    cv2.rectangle(tile, (x, y - height - 4), (x + width + 2, y), colour, cv2.FILLED)
    cv2.putText(tile, name, (x + 1, y - 3), _FONT, 0.35, (255, 255, 255), 1, cv2.LINE_AA)


def category_colour(category_id: int) -> tuple[int, int, int]:
    """A strong BGR colour that stays with the category."""
    red, green, blue = colorsys.hsv_to_rgb((category_id * 0.61803398875) % 1, 0.85, 0.80)
    return round(blue * 255), round(green * 255), round(red * 255)
