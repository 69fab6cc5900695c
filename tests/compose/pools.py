"""Sealed pools of given pixels, written as the pool's layout says: also of what sealing would refuse."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.conftest import CATEGORIES
from xpaste_ray.categories import category_to_coco
from xpaste_ray.pool import Pool, open_pool
from xpaste_ray.pool.layout import FORMAT, INDEX, INDEX_SCHEMA, INSTANCE_SCHEMA, MANIFEST, shard_name
from xpaste_ray.runs import write_json


def pixels(height: int, width: int, grey: int, alpha: int = 255) -> np.ndarray:
    """(h, w, 4) uint8 of one colour."""
    rgba = np.full((height, width, 4), grey, np.uint8)
    rgba[..., 3] = alpha
    return rgba


def write_pool(folder: Path, cutouts: dict[str, np.ndarray]) -> Pool:
    """Instances by id, in order: bananas, frogs and lions in turn."""
    folder.mkdir(parents=True)
    index, instances = [], []
    for offset, (name, rgba) in enumerate(cutouts.items()):
        category = CATEGORIES[offset % 3]
        height, width = rgba.shape[:2]
        shared = {"instance_id": name, "category_id": category.id, "height": height, "width": width}
        index.append(
            {**shared, "candidate_id": name, "image": name, "shard": 0, "batch": 0, "offset": offset}
        )
        made_by = {"candidate_id": name, "method": "hand", "ordinal": 0, "source": "hand", "seed": 0,
                   "text": f"a photo of {category.name}", "clip_logit": 30.0, "area_fraction": 1.0,
                   "source_size_hw": [height, width], "source_box_xywh": [0, 0, width, height]}  # fmt: skip
        pixels = {"category": category.name, "encoding": "raw", "rgba": rgba.tobytes()}
        instances.append({**shared, **pixels, **made_by})
    for path, rows, schema in ((INDEX, index, INDEX_SCHEMA), (shard_name(0), instances, INSTANCE_SCHEMA)):
        with pa.ipc.new_file(str(folder / path), schema) as file:
            file.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
    manifest = {"format": FORMAT, "fingerprint": "f" * 16, "instances": len(index),
                "categories": [category_to_coco(category) for category in CATEGORIES],
                "shards": [{"name": shard_name(0)}]}  # fmt: skip
    write_json(folder / MANIFEST, manifest)
    return open_pool(folder)
