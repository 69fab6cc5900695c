"""How large a pasted instance becomes.

A size is a share r of the image's side: r^2 x image area is the area of the instance's box. What is
usual for a category is a mean and a standard deviation of r over annotations (X-Paste, stage G, which
calls it "area").
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from xpaste_ray.categories import lvis_instance_counts
from xpaste_ray.compose.plan import SizeHW
from xpaste_ray.config import SizeSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.runs import read_json

_LVIS_TABLE = Path(__file__).resolve().parent.parent / "data" / "lvis_v1_area_mean_std.json"
_OVERALL = "overall"


@dataclass(frozen=True, slots=True)
class SizeTable:
    """Mean and standard deviation of the share of the side, by category id and over all categories."""

    by_category: Mapping[int, tuple[float, float]]
    overall: tuple[float, float]

    def of(self, category_id: int) -> tuple[float, float]:
        """The category's, or the overall one where the table lacks it."""
        return self.by_category.get(category_id, self.overall)

    def lacks(self, category_id: int) -> bool:
        return category_id not in self.by_category


@cache
def load_size_table(table: str) -> SizeTable:
    """ "lvis" (LVIS v1 train, published with X-Paste) or a JSON file: {"<category id>": [mean, std]}.

    Without an entry "overall" the mean over the categories stands for it, weighted by their instances
    for LVIS. ConfigError if the file is missing or not such a table.
    """
    path = _LVIS_TABLE if table == "lvis" else Path(table)
    if not path.is_file():
        raise ConfigError(f'size.table: {table} is not a file: give "lvis" or what `xpaste sizes fit` wrote')
    try:
        entries = {key: (float(mean), float(std)) for key, (mean, std) in read_json(path).items()}
        overall = entries.pop(_OVERALL, None)
        by_category = {int(key): value for key, value in entries.items()}
    except (TypeError, ValueError):
        raise ConfigError(
            f'size.table: {path} must map category ids to [mean, std] (and "overall")'
        ) from None
    if not by_category and overall is None:
        raise ConfigError(f"size.table: {path} is empty: fit it from annotations with `xpaste sizes fit`")
    weights = lvis_instance_counts() if table == "lvis" else {}
    return SizeTable(by_category, overall or _pooled(by_category, weights))


def fit_size_table(coco: Mapping[str, Any]) -> dict[str, list[float]]:
    """Mean and population deviation of sqrt(box area / image area), by category id and "overall".

    coco: a COCO or LVIS annotation file. Crowds and boxes without area are left out.
    """
    areas = {image["id"]: image["height"] * image["width"] for image in coco["images"]}
    shares: dict[int, list[float]] = {}
    for annotation in coco["annotations"]:
        _, _, width, height = annotation["bbox"]
        if not annotation.get("iscrowd") and width > 0 and height > 0:
            share = math.sqrt(width * height / areas[annotation["image_id"]])
            shares.setdefault(annotation["category_id"], []).append(share)
    if not shares:
        raise ConfigError("no boxes to fit sizes from: the file has no annotation with an area")
    table = {str(category): _mean_std(shares[category]) for category in sorted(shares)}
    return table | {_OVERALL: _mean_std(share for values in shares.values() for share in values)}


def size_table_bytes(table: Mapping[str, list[float]]) -> bytes:
    return (json.dumps(table, indent=1) + "\n").encode()


def draw_size_hw(
    own_hw: SizeHW,
    canvas_hw: SizeHW,
    settings: SizeSettings,
    usual: tuple[float, float],
    normal: float,
    uniform: float,
) -> SizeHW:
    """The size by the rule (all but `circle`), not yet checked.

    own_hw: the cut-out's; usual: mean and std for rule `prior`; normal, uniform: the draws it uses.
    """
    height, width = own_hw
    if settings.rule == "prior":
        return _prior_size_hw(own_hw, canvas_hw, settings, usual, normal, uniform)
    if settings.rule == "pixels":
        return _pixels_size_hw(width / height, settings, uniform)
    low, high = settings.factor
    factor = low + uniform * (high - low)
    if settings.rule == "image":
        factor *= min(canvas_hw) / max(own_hw)
    return _whole(height * factor, width * factor)


def _prior_size_hw(
    own_hw: SizeHW,
    canvas_hw: SizeHW,
    settings: SizeSettings,
    usual: tuple[float, float],
    normal: float,
    uniform: float,
) -> SizeHW:
    """Source: X-Paste, stage G, with its truncations: the height follows from the truncated width.

    A side below one pixel becomes one (there: 0, and then rejected as it is here).
    """
    share = clipped_share(canvas_hw, settings, usual, normal)
    low, high = settings.aspect_jitter
    aspect = own_hw[1] / own_hw[0] * (low + uniform * (high - low))
    width = int(math.sqrt(aspect * share * share * canvas_hw[0] * canvas_hw[1]))
    return max(1, int(width / aspect)), max(1, width)


def _pixels_size_hw(aspect: float, settings: SizeSettings, uniform: float) -> SizeHW:
    """Both sides in `pixels`: the longer one is uniform over all that keep the shorter one inside.

    aspect: width / height, moved to the nearest that `aspect` and `pixels` allow. Source: X-Paste's
    summary, which gives the two ranges and not how they go together.
    """
    low, high = settings.pixels
    aspect = min(max(aspect, settings.aspect[0], low / high), settings.aspect[1], high / low)
    shortest = low * max(aspect, 1 / aspect)
    longer = shortest + uniform * (high - shortest)
    return _whole(longer, longer * aspect) if aspect < 1 else _whole(longer / aspect, longer)


def clipped_share(
    canvas_hw: SizeHW, settings: SizeSettings, usual: tuple[float, float], normal: float
) -> float:
    """The share of the side, between `min_px` of the canvas' height and `max_fraction`."""
    mean, std = usual
    return min(max(mean + normal * std, settings.min_px / canvas_hw[0]), settings.max_fraction)


def cutout_problem(own_hw: SizeHW, settings: SizeSettings) -> str | None:
    """Why a cut-out is not pasted at any size, if it is not. Source: EM-Paste's code."""
    return "small_cutout" if own_hw[0] * own_hw[1] < settings.min_cutout_area_px else None


def size_problem(size_hw: SizeHW, canvas_hw: SizeHW, settings: SizeSettings) -> str | None:
    """Why an instance of this size is not pasted, if it is not. Source: X-Paste, stage G."""
    if min(size_hw) < settings.min_side_px:
        return "too_small"
    return "too_large" if size_hw[0] >= canvas_hw[0] or size_hw[1] >= canvas_hw[1] else None


def _whole(height: float, width: float) -> SizeHW:
    return max(1, round(height)), max(1, round(width))


def _pooled(
    by_category: Mapping[int, tuple[float, float]], weights: Mapping[int, int]
) -> tuple[float, float]:
    values = np.array(list(by_category.values()))
    weight = np.array([weights.get(category, 1) for category in by_category], float)
    mean = np.average(values[:, 0], weights=weight)
    square = np.average(values[:, 1] ** 2 + values[:, 0] ** 2, weights=weight)
    return float(mean), math.sqrt(max(0.0, float(square - mean**2)))


def _mean_std(values: Iterable[float]) -> list[float]:
    array = np.fromiter(values, float)
    return [float(array.mean()), float(array.std())]
