"""What the compositor's benchmarks paste and paste on: the shipped objects and photographs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from xpaste_ray.categories import lvis_categories, pick_categories
from xpaste_ray.config import CutoutSettings
from xpaste_ray.embedded import CLIP_CATEGORIES, OBJECTS_DIR, PHOTOS_DIR
from xpaste_ray.masks import encode_png
from xpaste_ray.pool import Pool, open_pool, seal_pool
from xpaste_ray.pool.write import write_pool
from xpaste_ray.records import SCORES, candidates_schema, unit_id
from xpaste_ray.runs import RunDir, write_parquet
from xpaste_ray.storage import locate


def object_pool(folder: Path) -> Pool:
    """A sealed pool with one instance of each of 64 categories, 256 px at most."""
    run = RunDir(folder)
    categories = pick_categories(lvis_categories(), CLIP_CATEGORIES)
    files = {row["name"]: row["file"] for row in json.loads((OBJECTS_DIR / "index.json").read_text())}
    rows, scores = [], []
    for category in categories:
        bgra = cv2.imread(str(OBJECTS_DIR / files[category.name]), cv2.IMREAD_UNCHANGED)
        rgba = cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)
        head = {"round": 0, "unit": 0, "candidate_id": f"{category.id}-0", "category_id": category.id,
                "category": category.name, "index": 0}  # fmt: skip
        proposal = {"method": "exact", "ordinal": 0, "status": "ok", "reason": None,
                    "area_fraction": float((rgba[..., 3] > 128).mean())}  # fmt: skip
        rows.append(
            head
            | {"text": category.name, "seed": 0, "source": "object", "model": None, "status": "ok",
               "reason": None, "degraded_shape": False, "transient": False,
               "height": rgba.shape[0], "width": rgba.shape[1],
               "image_png": encode_png(np.ascontiguousarray(rgba[..., :3]))}
            | {"proposals": [proposal | {"mask_png": encode_png(np.ascontiguousarray(rgba[..., 3])),
                                         "scores": [("clip_logit", 30.0)], "embedding": [0.0]}]}
        )  # fmt: skip
        scores.append(head | {"candidate_status": "ok", "transient": False} | proposal | {"clip_logit": 30.0})
    table = pa.Table.from_pylist(rows, schema=candidates_schema(1))
    write_parquet(run.unit_file(unit_id(0, 0)), table, "benchmark")
    kept = pa.Table.from_pylist(scores, schema=SCORES)
    seal_pool(kept, run.unit_file, categories, CutoutSettings(), "f" * 16, run.pools / "objects")
    return open_pool(run.pools / "objects")


def large_pool(folder: Path, count: int, side_px: int = 32) -> Pool:
    """So many discs of different colours, of 64 categories in turn."""
    categories = pick_categories(lvis_categories(), CLIP_CATEGORIES)
    y, x = np.mgrid[:side_px, :side_px] - (side_px - 1) / 2
    rgba = np.zeros((side_px, side_px, 4), np.uint8)
    rgba[..., 3] = np.where(x * x + y * y <= (side_px / 2) ** 2, 255, 0)

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(count):
            category = categories[number % len(categories)]
            rgba[..., :3] = number % 251, number % 241, number % 239
            name = f"{category.id}-{number}"
            yield {"instance_id": f"{name}-0", "category_id": category.id, "category": category.name,
                   "height": side_px, "width": side_px, "encoding": "raw", "rgba": rgba.tobytes(),
                   "alpha": None, "candidate_id": name, "method": "exact", "ordinal": 0, "source": "object",
                   "source_size_hw": [side_px, side_px],
                   "source_box_xywh": [0, 0, side_px, side_px]}  # fmt: skip

    write_pool(locate(folder), rows(), categories, [])
    return open_pool(folder)


def photo_folder(folder: Path, side_px: int, count: int = 27) -> Path:
    """Square photographs of `side_px` as JPEG, quality 95: mirrored at their edges, not enlarged, because
    an enlarged photograph has less detail than a real one, and JPEG would be too fast."""
    folder.mkdir(parents=True, exist_ok=True)
    photos = [cv2.imread(str(path)) for path in sorted(PHOTOS_DIR.glob("*.jpg"))]
    for number in range(count):
        photo = photos[number % len(photos)]
        below, right = (max(0, side_px - side) for side in photo.shape[:2])
        wide = cv2.copyMakeBorder(photo, 0, below, 0, right, cv2.BORDER_REFLECT)[:side_px, :side_px]
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), wide, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return folder
