"""Writing a pool's files: shards, then the index, then the manifest that makes it a pool.

A row is a dict of `layout.INSTANCE_SCHEMA`. The same rows in the same order give the same bytes.
"""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa

from xpaste_ray.categories import Category, category_to_coco
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint as fingerprint_of
from xpaste_ray.fingerprints import hash_bytes, hash_parts
from xpaste_ray.pool.layout import (
    FORMAT,
    INDEX,
    INDEX_SCHEMA,
    INSTANCE_SCHEMA,
    MANIFEST,
    REJECTS_FILE,
    image_of,
    shard_name,
)
from xpaste_ray.records import REJECTS
from xpaste_ray.runs import write_json, write_parquet
from xpaste_ray.storage import Location

ROWS_PER_SHARD = 1024  # at most 270 MB of pixels at 256 px
_MAX_BATCH_BYTES = 16 * 1024**2  # freed blocks of up to 32 MB are used again, see `worker.keep_freed_memory`

Row = dict[str, Any]
Rejection = tuple[str, str, str, str]  # kind, id, category, reason: a row of records.REJECTS


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """What the pool needs to know of a shard that is written. index: rows of `INDEX_SCHEMA`; entry: its part
    of the manifest."""

    index: pa.Table
    entry: dict[str, Any]


def write_shard(folder: Location, number: int, rows: Iterable[Row]) -> WrittenShard:
    """Rows go into record batches as they come, so no more than a batch is held twice."""
    shard, index = _Parts(), []
    with pa.ipc.new_file(shard, INSTANCE_SCHEMA) as file:
        for batch_number, batch in enumerate(_batches(rows)):
            file.write_batch(_record_batch(batch))
            index += [_index_row(row, number, batch_number, offset) for offset, row in enumerate(batch)]
    name = shard_name(number)
    (folder / name).write_whole(*shard.parts)
    entry = {"name": name, "rows": len(index), "checksum": hash_parts(shard.parts)}
    return WrittenShard(pa.Table.from_pylist(index, schema=INDEX_SCHEMA), entry)


def finish_pool(
    folder: Location,
    shards: Sequence[WrittenShard],
    categories: Sequence[Category],
    fingerprint: str | None = None,
) -> None:
    """Write index and manifest. fingerprint: of what it is made from; None for that of the contents."""
    index = pa.concat_tables([INDEX_SCHEMA.empty_table(), *(shard.index for shard in shards)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, INDEX_SCHEMA) as file:
        for batch in index.combine_chunks().to_batches():
            file.write_batch(batch)
    data = sink.getvalue()
    (folder / INDEX).write_whole(data)
    counts = Counter(index["category_id"].to_pylist())
    contents = {
        "instances": index.num_rows,
        "categories": [{**category_to_coco(one), "instances": counts[one.id]} for one in categories],
        "index": {"name": INDEX, "checksum": hash_bytes(data)},
        "shards": [shard.entry for shard in shards],
    }
    made_by = fingerprint or fingerprint_of({"format": FORMAT, **contents})
    write_json(folder / MANIFEST, {"format": FORMAT, "fingerprint": made_by, **contents})


def write_pool(
    folder: Location, rows: Iterable[Row], categories: Sequence[Category], rejections: Sequence[Rejection]
) -> None:
    """A whole pool in this process, shard after shard; its fingerprint is that of its contents.

    rejections: of rows that did not become instances. They are read last, so whoever makes the rows may
    still add to them.
    """
    rows, shards = iter(rows), list[WrittenShard]()
    while first := list(islice(rows, 1)):
        shards.append(write_shard(folder, len(shards), chain(first, islice(rows, ROWS_PER_SHARD - 1))))
    told = [dict(zip(REJECTS.names, rejection, strict=True)) for rejection in rejections]
    write_parquet(folder / REJECTS_FILE, pa.Table.from_pylist(told, schema=REJECTS))
    finish_pool(folder, shards, categories)


def check_new(folder: Location) -> None:
    """ConfigError if the folder has something in it: a pool never changes."""
    if folder.is_file() or folder.files():
        raise ConfigError(f"--out {folder} is there already: give a folder that is new, or empty")


class _Parts(io.RawIOBase):
    """A file that Arrow writes: the buffers themselves, which one large buffer would copy while it grows."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self.parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size


def _record_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    columns = [
        _joined([row[field.name] for row in rows])
        if field.name == "rgba"
        else pa.array([row.get(field.name) for row in rows], field.type)
        for field in INSTANCE_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(columns, schema=INSTANCE_SCHEMA)


def _joined(values: Sequence[Any]) -> pa.LargeBinaryArray:
    """As `pa.array` makes it of bytes, but each is copied once."""
    ends = np.cumsum([0, *map(len, values)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(values))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(values), buffers)


def _index_row(row: Row, shard: int, batch: int, offset: int) -> Row:
    return {
        "instance_id": row["instance_id"],
        "category_id": row["category_id"],
        "candidate_id": row["candidate_id"],
        "image": image_of(row),
        "height": row["height"],
        "width": row["width"],
        "shard": shard,
        "batch": batch,
        "offset": offset,
    }


def _batches(rows: Iterable[Row]) -> Iterable[list[Row]]:
    """Consecutive rows whose pixels stay within the bound of a record batch."""
    batch: list[Row] = []
    held = 0
    for row in rows:
        size = len(row["rgba"]) + len(row["alpha"] or b"")
        if batch and held + size > _MAX_BATCH_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(row)
        held += size
    if batch:
        yield batch
