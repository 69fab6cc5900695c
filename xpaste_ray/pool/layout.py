"""The files of a sealed pool.

    manifest.json      fingerprint, categories, counts, shards with checksums; written last
    index.arrow        a row an instance, in pool order: what planning needs, and where its pixels are
    shard-00000.arrow  the instances, Arrow IPC, record batches of at most 16 MiB
    rejects.parquet    what is not in the pool, and why (`records.REJECTS`)

Nothing in them tells when, where or by how many workers the pool was made.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

MANIFEST = "manifest.json"
INDEX = "index.arrow"
REJECTS_FILE = "rejects.parquet"
FORMAT = 4

INDEX_SCHEMA = pa.schema(
    [
        pa.field("instance_id", pa.string(), nullable=False),
        pa.field("category_id", pa.int64(), nullable=False),
        pa.field("candidate_id", pa.string(), nullable=False),
        pa.field("image", pa.string(), nullable=False),  # see `image_of`
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("batch", pa.int32(), nullable=False),
        pa.field("offset", pa.int32(), nullable=False),
    ]
)

INSTANCE_SCHEMA = pa.schema(
    [
        pa.field("instance_id", pa.string(), nullable=False),
        pa.field("category_id", pa.int64(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("encoding", pa.string(), nullable=False),  # see `pool.pixels`
        pa.field("rgba", pa.large_binary(), nullable=False),  # raw: height * width * 4, straight colour
        pa.field("alpha", pa.large_binary()),  # jpeg
        # provenance
        pa.field("candidate_id", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("ordinal", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("model", pa.string()),
        pa.field("text", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("uri", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("page", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("scores", pa.map_(pa.string(), pa.float32())),  # all that it had, see `records.SCORE_NAMES`
        pa.field("clip_logit", pa.float32()),
        pa.field("area_fraction", pa.float32()),
        pa.field("source_size_hw", pa.list_(pa.int32(), 2), nullable=False),
        pa.field("source_box_xywh", pa.list_(pa.int32(), 4), nullable=False),
    ]
)

PIXELS = ("rgba", "alpha")
PROVENANCE = tuple(name for name in INSTANCE_SCHEMA.names if name not in PIXELS)


def image_of(row: Mapping[str, Any]) -> str:
    """What is equal for instances that were cut from one image, whatever their category. row: of
    `INSTANCE_SCHEMA`.

    The hash of the image's bytes, where it was read: a candidate is one image and one of its categories. What
    was generated has none, and there each candidate is an image of its own.
    """
    image: str = row.get("content_hash") or row["candidate_id"]
    return image


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.arrow"
