"""Fitting a size table to the annotations of a dataset; what the table holds is told in `size_table`."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from xpaste_ray.compose.size_table import OVERALL
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.runs import write_whole

_MOST_PX = 1e9  # no side of an image is longer


def fit_size_table(coco: Mapping[str, Any]) -> tuple[dict[str, list[float]], Counter[str]]:
    """Mean and population deviation of sqrt(box area / image area), by category id and "overall".

    coco: a COCO or LVIS annotation file. Returns the table, and how many annotations it does not stand
    on, by reason. ConfigError if `coco` is no such file or has nothing to fit.
    """
    named = [image for image in _entries(coco, "images") if isinstance(image.get("id"), int | str)]
    images = {image["id"]: image for image in named}
    shares: dict[int, list[float]] = {}
    left_out: Counter[str] = Counter()
    for annotation in _entries(coco, "annotations"):
        try:
            share = _share_of_side(annotation, images)
        except RowError as error:
            left_out[error.reason] += 1
        else:
            shares.setdefault(annotation["category_id"], []).append(share)
    if not shares:
        reasons = ", ".join(f"{reason} {count}" for reason, count in left_out.items()) or "none"
        raise ConfigError(f"no boxes to fit sizes from: unusable annotations: {reasons}")
    table = {str(category): _mean_std(shares[category]) for category in sorted(shares)}
    return table | {OVERALL: _mean_std(share for values in shares.values() for share in values)}, left_out


def _entries(coco: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = coco.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(
            f"this is no COCO or LVIS file: it has no list of objects {key!r}; give annotations with images "
            "(id, height, width) and annotations (image_id, category_id, bbox)"
        )
    return entries


def _share_of_side(annotation: Mapping[str, Any], images: Mapping[Any, Mapping[str, Any]]) -> float:
    """sqrt(box area / image area). RowError with the reason why it cannot be fitted."""
    if annotation.get("iscrowd"):
        raise RowError("crowd")
    if type(annotation.get("category_id")) is not int:  # a table's keys are numbers
        raise RowError("no_category")
    sides = annotation.get("bbox")
    if not isinstance(sides, list) or len(sides) != 4 or not all(map(_is_number, sides)):
        raise RowError("no_box")
    if not (sides[2] > 0 and sides[3] > 0):
        raise RowError("empty_box")
    image_id = annotation.get("image_id")
    image = images.get(image_id) if isinstance(image_id, int | str) else None
    if image is None:
        raise RowError("unknown_image")
    height, width = image.get("height"), image.get("width")
    if not (_is_number(height) and _is_number(width) and height > 0 and width > 0):
        raise RowError("image_without_size")
    return math.sqrt(sides[2] * sides[3] / (height * width))


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and abs(value) < _MOST_PX  # so no NaN, nor infinity


def size_table_bytes(table: Mapping[str, list[float]]) -> bytes:
    return (json.dumps(table, indent=1) + "\n").encode()


def write_size_table(path: Path, table: Mapping[str, list[float]]) -> None:
    """ConfigError if the file cannot be written, or is there and holds something else."""
    data = size_table_bytes(table)
    try:
        if path.exists() and path.read_bytes() != data:
            raise ConfigError(
                f"--out {path} is there and holds something else: give another --out, or delete it"
            )
        write_whole(path, data)
    except OSError as error:
        raise ConfigError(f"--out {path} cannot be written ({error.strerror}): give another --out") from None


def _mean_std(values: Iterable[float]) -> list[float]:
    array = np.fromiter(values, float)
    return [float(array.mean()), float(array.std())]
