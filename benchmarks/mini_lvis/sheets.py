"""A picture to look at of each set: its first images, with the outlines of what is annotated."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from xpaste_ray.runs import write_whole

_COLUMNS, _ROWS = 12, 6
_TILE_PX = 160
_OUTLINE = (255, 255, 0)
_TEXT = (255, 255, 255)


def write_sheets(material: Path) -> None:
    """sheets/<set>.png for each set that is there."""
    for name in ("train", "val", "test", "labelled", "pretrain"):
        truth = material / ("labelled_truth.json" if name == "labelled" else f"{name}/annotations.json")
        told = _annotations(truth) if truth.exists() else {}
        files = sorted((material / name / "images").glob("*.jpg"))
        step = max(1, len(files) // (_COLUMNS * _ROWS))
        tiles = [_tile(path, told.get(path.name, [])) for path in files[::step][: _COLUMNS * _ROWS]]
        (material / "sheets").mkdir(exist_ok=True)
        ok, data = cv2.imencode(".png", _grid(tiles))
        assert ok
        write_whole(material / "sheets" / f"{name}.png", bytes(data))


def _annotations(path: Path) -> dict[str, list[dict[str, Any]]]:
    """By the last part of the image's name, each with its category's `name`."""
    told = json.loads(path.read_text())
    names = {one["id"]: one["name"] for one in told["categories"]}
    files = {one["id"]: Path(one["file_name"]).name for one in told["images"]}
    found = defaultdict(list)
    for one in told["annotations"]:
        found[files[one["image_id"]]].append(one | {"name": names[one["category_id"]]})
    return found


def _tile(path: Path, annotations: list[dict[str, Any]]) -> np.ndarray:
    """BGR."""
    image = cv2.imread(str(path))
    scale = _TILE_PX / max(image.shape[:2])
    tile = cv2.resize(image, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_LINEAR)
    for one in annotations:
        mask = coco_mask.decode(one["segmentation"])
        large = cv2.resize(mask, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, contours, -1, _OUTLINE, 1)
        left, top = (int(side * scale) for side in one["bbox"][:2])
        cv2.putText(
            tile, one["name"], (left, max(10, top)), cv2.FONT_HERSHEY_SIMPLEX, 0.3, _TEXT, 1, cv2.LINE_AA
        )
    return tile


def _grid(tiles: list[np.ndarray]) -> np.ndarray:
    tiles = tiles + [np.full((_TILE_PX, _TILE_PX, 3), 255, np.uint8)] * (-len(tiles) % _COLUMNS)
    rows = [np.concatenate(tiles[at : at + _COLUMNS], 1) for at in range(0, len(tiles), _COLUMNS)]
    return np.concatenate(rows)
