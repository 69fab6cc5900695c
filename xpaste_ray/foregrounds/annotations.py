"""The chosen segments as masks of the original images: a COCO file.

It is what EM-Paste's baseline trains on, and what its compositor takes as backgrounds: the masks are the
occupied regions, and the labels of what the photograph itself shows (Algorithm 2).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpaste_ray.categories import Category, category_to_coco
from xpaste_ray.config import CutoutSettings
from xpaste_ray.formats.coco import Entry, entry_file
from xpaste_ray.masks import decode_png, encode_rle, tight_box_xywh
from xpaste_ray.pool.cutout import MASK_ABOVE, OBJECTS
from xpaste_ray.records import instance_id, unit_id
from xpaste_ray.storage import Location

KEPT_COLUMNS = ("round", "unit", "candidate_id", "category_id", "index", "method", "ordinal", "class_score")
"""Of `records.SCORES`: what is known of a chosen segment."""

_READERS = 8  # threads: decoding lets go of the interpreter
_UNITS_AHEAD = 64
_HEAD_BYTES = 512
_RECIPE = re.compile(rb'"recipe":"([0-9a-f]+)"')

UnitFile = Callable[[str], Location]


class Originals(Protocol):
    """The images as they were, by number. uris: their names."""

    @property
    def uris(self) -> Sequence[str]: ...

    def upright_size_hw(self, image: int) -> tuple[int, int]: ...


def write_annotations(
    target: Path,
    chosen: pa.Table,
    unit_file: UnitFile,
    images: Originals,
    categories: Sequence[Category],
    cutout: CutoutSettings,
    recipe: str,
) -> dict[str, int]:
    """Write the file, whole; images come in their own order, and only those with a mask.

    chosen: rows with `KEPT_COLUMNS`. unit_file: where a unit's candidates are. cutout: its `object` is what
    counts of a mask, so that a mask here is the instance in the pool. recipe: what the choice was made by,
    see `annotations_recipe`. Returns how many images and annotations there are. RowError if an original
    cannot be read any more.
    """
    counts = {"images": 0, "annotations": 0}
    head = {"info": {"description": "masks from image-level labels", "recipe": recipe}, "licenses": []}
    tail = {"categories": [category_to_coco(one) | {"supercategory": "none"} for one in categories]}
    with entry_file(target, head, lambda: tail) as add:
        for image, masks in _by_image(chosen, unit_file, cutout):
            height, width = images.upright_size_hw(image)
            entries = [entry for row, mask in masks for entry in _entries(image, row, mask, (height, width))]
            if entries:
                name = images.uris[image]
                add({"id": image + 1, "file_name": name, "height": height, "width": width}, entries)
                counts["images"] += 1
                counts["annotations"] += len(entries)
    return counts


def annotations_recipe(file: Location) -> str | None:
    """What the choice in a file was made by; None if there is no such file, or it is another's."""
    try:
        with file.open() as data:
            found = _RECIPE.search(data.read(_HEAD_BYTES))
    except FileNotFoundError:
        return None
    return found[1].decode() if found else None


Row = dict[str, Any]


def _by_image(
    chosen: pa.Table, unit_file: UnitFile, cutout: CutoutSettings
) -> Iterator[tuple[int, list[tuple[Row, np.ndarray]]]]:
    """Chosen segments and their masks (H, W) uint8, in the frame in which they were found, image by image.

    All of an image are in one unit, and units hold images in their order.
    """
    rows = sorted(chosen.select(KEPT_COLUMNS).to_pylist(), key=_place)
    units = [list(group) for _, group in groupby(rows, key=lambda row: (row["round"], row["unit"]))]
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(units), _UNITS_AHEAD):
            ahead = units[start : start + _UNITS_AHEAD]
            for of_unit, masks in zip(
                ahead, pool.map(lambda one: _masks(one, unit_file), ahead), strict=True
            ):
                pairs = zip(of_unit, (OBJECTS[cutout.object](mask) for mask in masks), strict=True)
                for image, group in groupby(pairs, key=lambda pair: pair[0]["index"]):
                    yield image, list(group)


def _place(row: Row) -> tuple[Any, ...]:
    return row["round"], row["unit"], row["index"], row["category_id"], row["method"], row["ordinal"]


def _masks(rows: Sequence[Row], unit_file: UnitFile) -> list[np.ndarray]:
    """Of rows of one unit, in their order."""
    file = unit_file(unit_id(rows[0]["round"], rows[0]["unit"]))
    columns = [
        "candidate_id",
        *(f"proposals.list.element.{name}" for name in ("method", "ordinal", "mask_png")),
    ]
    with file.open() as data:
        unit = pq.ParquetFile(data, page_checksum_verification=True)
        candidates = unit.read(columns, use_threads=False).to_pylist()
    found = {
        (candidate["candidate_id"], one["method"], one["ordinal"]): one["mask_png"]
        for candidate in candidates
        for one in candidate["proposals"]
    }
    return [decode_png(found[row["candidate_id"], row["method"], row["ordinal"]]) for row in rows]


def _entries(image: int, row: Row, alpha: np.ndarray, size_hw: tuple[int, int]) -> Iterator[Entry]:
    """The annotation of a chosen segment; none if nothing of it is left at the original's size."""
    if alpha.shape != size_hw:
        alpha = cv2.resize(alpha, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    mask = alpha > MASK_ABOVE
    box = tight_box_xywh(mask)
    if box is not None:
        yield {
            "image_id": image + 1,
            "category_id": row["category_id"],
            "bbox": list(box),
            "area": int(mask.sum()),
            "segmentation": encode_rle(mask),
            "iscrowd": 0,
            "instance_id": instance_id(row["candidate_id"], row["method"], row["ordinal"]),
            "score": row["class_score"],
        }
