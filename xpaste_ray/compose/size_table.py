"""How large instances of a category usually are.

A size is a share r of the image's side: r^2 x image area is the area of the instance's box. What is
usual for a category is a mean and a standard deviation of r over annotations (X-Paste, stage G, which
calls it "area").
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from xpaste_ray.categories import Category, lvis_categories, lvis_instance_counts, name_key
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.runs import read_json
from xpaste_ray.storage import Location, locate

OVERALL = "overall"
_LVIS_TABLE = Path(__file__).resolve().parent.parent / "data" / "lvis_v1_area_mean_std.json"


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
    return table if table == "lvis" else hash_bytes(_table_file(table).read_bytes())


def _table_file(table: str) -> Location:
    """Here or in an object store."""
    file = locate(_LVIS_TABLE if table == "lvis" else table)
    if not file.is_file():
        raise ConfigError(f'size.table: {table} is not a file: give "lvis" or what `xpaste sizes fit` wrote')
    return file


def load_size_table(table: str, categories: Iterable[Category]) -> SizeTable:
    """ "lvis" (LVIS v1 train, published with X-Paste) or a JSON file: {"<category id>": [mean, std]}.

    A file's ids are those of `categories`; in LVIS's table they are found by their names.
    Without an entry "overall" the mean over the categories stands for it, weighted by their instances
    for LVIS. ConfigError if the file is missing or not such a table.
    """
    if table == "lvis":
        by_name, overall = _lvis_sizes()
        keys = {category.id: name_key(category.name) for category in categories}
        return SizeTable({number: by_name[key] for number, key in keys.items() if key in by_name}, overall)
    by_category, told = _read(_table_file(table))
    return SizeTable(by_category, told or _pooled(by_category, {}))


@cache
def _lvis_sizes() -> tuple[Mapping[str, tuple[float, float]], tuple[float, float]]:
    """By the key of a category's name, and overall. Read once: a service makes a planner for each request
    that is new to it."""
    by_category, _ = _read(_table_file("lvis"))
    keys = {category.id: name_key(category.name) for category in lvis_categories()}
    by_name = {keys[number]: size for number, size in by_category.items()}
    return by_name, _pooled(by_category, lvis_instance_counts())


def _read(path: Location) -> tuple[dict[int, tuple[float, float]], tuple[float, float] | None]:
    """By category id, and overall if that is told. ConfigError."""
    try:
        entries = {key: (float(mean), float(std)) for key, (mean, std) in read_json(path).items()}
        overall = entries.pop(OVERALL, None)
        by_category = {int(key): value for key, value in entries.items()}
    except (TypeError, ValueError):
        raise ConfigError(
            f'size.table: {path} must map category ids to [mean, std] (and "overall")'
        ) from None
    if not by_category and overall is None:
        raise ConfigError(f"size.table: {path} is empty: fit it from annotations with `xpaste sizes fit`")
    return by_category, overall


def _pooled(
    by_category: Mapping[int, tuple[float, float]], weights: Mapping[int, int]
) -> tuple[float, float]:
    values = np.array(list(by_category.values()))
    weight = np.array([weights.get(category, 1) for category in by_category], float)
    mean = np.average(values[:, 0], weights=weight)
    square = np.average(values[:, 1] ** 2 + values[:, 0] ** 2, weights=weight)
    return float(mean), math.sqrt(max(0.0, float(square - mean**2)))
