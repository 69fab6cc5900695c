"""The few pictures that a report shows, small enough to lie in the page."""

from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from xpaste_ray.html_report.blocks import Picture
from xpaste_ray.html_report.given import Given, readable
from xpaste_ray.masks import decode_png, resize_cutout
from xpaste_ray.records import instance_id, unit_id
from xpaste_ray.runs import open_parquet

TILE_PX = 144

_QUALITY = 78
_OUTLINE_RGB = (225, 29, 72)
_UNREAD = ("embedding", "overlaps")


def cutout_picture(rgba: np.ndarray) -> Picture:
    """Of a cut-out, (H, W, 4) uint8 with straight colours: it stays transparent."""
    return _encoded(cv2.cvtColor(resize_cutout(rgba, _within(rgba, TILE_PX)), cv2.COLOR_RGBA2BGRA))


def photo_picture(rgb: np.ndarray, mask: np.ndarray | None = None, side_px: int = TILE_PX) -> Picture:
    """Of an image, (H, W, 3) uint8; the outline of a mask, (H, W) uint8, is drawn on it."""
    height, width = _within(rgb, side_px)
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    if mask is not None:
        inside = (cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA) > 127).astype(np.uint8)
        contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(small, contours, -1, _OUTLINE_RGB, 1)
    return _encoded(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))


def made_pictures(given: Given, rows: Iterable[int]) -> dict[int, tuple[Picture, Mapping[str, Any]]]:
    """Of those rows of the score table: the image with the mask's outline, and what its unit's file tells.
    Rows without an image are left out. Each unit's file is read once."""
    table = given.scores
    assert table is not None
    numbers = list(rows)
    wanted = table.select(["round", "unit", "candidate_id", "method", "ordinal"])
    told = wanted.take(pa.array(numbers, pa.int64())).to_pylist()
    by_unit: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for number, row in zip(numbers, told, strict=True):
        by_unit.setdefault(unit_id(row["round"], row["unit"]), []).append((number, row))
    found: dict[int, tuple[Picture, Mapping[str, Any]]] = {}
    for unit, own in by_unit.items():
        file = given.run.unit_file(unit)
        if not file.is_file():  # a run may be kept without them
            continue
        with readable(file):
            candidates = _read_candidates(given, unit, {row["candidate_id"] for _, row in own})
        for number, row in own:
            candidate = candidates.get(row["candidate_id"])
            if candidate is not None and candidate["image_png"] is not None:
                found[number] = _made(candidate, row["method"], row["ordinal"])
    return found


def _made(
    candidate: Mapping[str, Any], method: str | None, ordinal: int | None
) -> tuple[Picture, dict[str, Any]]:
    """Of a candidate, or of one of its proposals."""
    told = {name: one for name, one in candidate.items() if name not in ("image_png", "proposals")}
    mask = None
    for one in candidate["proposals"]:
        if (one["method"], one["ordinal"]) == (method, ordinal):
            mask = None if one["mask_png"] is None else decode_png(one["mask_png"])
            scores = {"scores": dict(one["scores"] or ())}
            told |= {"instance_id": instance_id(candidate["candidate_id"], one["method"], one["ordinal"])}
            told |= {name: one[name] for name in ("method", "ordinal", "area_fraction")} | scores
    return photo_picture(decode_png(candidate["image_png"]), mask), told


def _read_candidates(given: Given, unit: str, ids: set[str]) -> dict[str, dict[str, Any]]:
    """Those of a unit's file, without their embeddings."""
    file = open_parquet(given.run.unit_file(unit))
    paths = (file.schema.column(number).path for number in range(len(file.schema)))
    columns = [path for path in paths if not set(_UNREAD) & set(path.split("."))]
    table = file.read(columns=columns)
    wanted = table.filter(pa.array([name in ids for name in table["candidate_id"].to_pylist()], pa.bool_()))
    return {row["candidate_id"]: row for row in wanted.to_pylist()}


def _within(image: np.ndarray, side_px: int) -> tuple[int, int]:
    """Height and width of the picture: never larger than the image."""
    shrink = min(1.0, side_px / max(image.shape[:2]))
    height, width = (max(1, round(side * shrink)) for side in image.shape[:2])
    return height, width


def _encoded(image: np.ndarray) -> Picture:
    """image: as OpenCV has it, BGR or BGRA."""
    done, data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    if not done:
        raise ValueError("OpenCV could not encode a picture")
    return Picture("webp", bytes(data), (image.shape[0], image.shape[1]))
