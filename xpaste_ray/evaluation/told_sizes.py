"""Boxes and areas as an annotation file tells them, which an index of its images does not keep.

COCO's and LVIS's published figures follow from these: the area decides whether an object is small, medium or
large, and a polygon's is not the number of its mask's pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpaste_ray.json_lists import list_entries

BoxF = tuple[float, float, float, float]
"""x, y, width, height in pixels; not always whole ones."""


@dataclass(frozen=True, slots=True)
class ToldSize:
    """Of one annotation. None where the file has none that can be used."""

    area: float | None
    bbox_xywh: BoxF | None


NOTHING_TOLD = ToldSize(None, None)


def read_told_sizes(
    annotations: Path, upright_hw: Callable[[int], tuple[int, int] | None]
) -> dict[int, ToldSize]:
    """By annotation id. upright_hw: of an image, by its id; None for one that is not asked about.

    Boxes are left out where the file has the image's size before it was turned upright: they are drawn on
    another raster than the masks, see `backgrounds.annotations.Frame`.
    """
    found: dict[int, ToldSize] = {}
    images: dict[int, int] = {}
    declared: dict[int, tuple[Any, Any]] = {}
    for key, _, _, value in list_entries(annotations.read_bytes().decode("latin-1")):
        if key == "images":
            declared[value["id"]] = value.get("height"), value.get("width")
        elif key == "annotations" and upright_hw(value["image_id"]):
            images[value["id"]] = value["image_id"]
            found[value["id"]] = ToldSize(_area(value.get("area")), _box(value.get("bbox")))
    turned = {
        image_id
        for image_id, size_hw in declared.items()
        if None not in size_hw and upright_hw(image_id) not in (None, size_hw)
    }
    return {
        number: ToldSize(told.area, None) if images[number] in turned else told
        for number, told in found.items()
    }


def _area(value: Any) -> float | None:
    return float(value) if _is_number(value) and value > 0 else None


def _box(value: Any) -> BoxF | None:
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        return None
    x, y, width, height = map(float, value)
    return (x, y, width, height) if width > 0 and height > 0 else None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
