"""How large a pasted instance becomes.

A size is a share r of the image's side: r^2 x image area is the area of the instance's box. What is
usual for a category is a mean and a standard deviation of r over annotations (X-Paste, stage G, which
calls it "area").
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from xpaste_ray.categories import lvis_instance_counts
from xpaste_ray.compose.plan import SizeHW
from xpaste_ray.config import SizeSettings
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.fingerprints import hash_file
from xpaste_ray.runs import read_json, write_whole

_LVIS_TABLE = Path(__file__).resolve().parent.parent / "data" / "lvis_v1_area_mean_std.json"
_OVERALL = "overall"
_MOST_PX = 1e9  # no side of an image is longer


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


def size_table_id(table: str) -> str:
    """What a table is, wherever it lies: "lvis", or the hash of the file."""
    return table if table == "lvis" else hash_file(_table_file(table))


def _table_file(table: str) -> Path:
    path = _LVIS_TABLE if table == "lvis" else Path(table)
    if not path.is_file():
        raise ConfigError(f'size.table: {table} is not a file: give "lvis" or what `xpaste sizes fit` wrote')
    return path


def load_size_table(table: str) -> SizeTable:
    """ "lvis" (LVIS v1 train, published with X-Paste) or a JSON file: {"<category id>": [mean, std]}.

    Without an entry "overall" the mean over the categories stands for it, weighted by their instances
    for LVIS. ConfigError if the file is missing or not such a table.
    """
    path = _table_file(table)
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
    return table | {_OVERALL: _mean_std(share for values in shares.values() for share in values)}, left_out


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
