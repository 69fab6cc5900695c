"""Indexing: from a work list to an index's files.

`index_part` opens images and is where the time goes; any worker can do any part. `write_index` puts
the parts together in source order. The bytes depend on neither the parts nor who made them.
"""

import json
import mmap
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.backgrounds.annotations import declared_size, encode_annotation, frame_of
from xpaste_ray.backgrounds.layout import (
    ANNOTATION_SCHEMA,
    ANNOTATIONS,
    FORMAT,
    INDEX,
    INDEX_SCHEMA,
    MANIFEST,
    PART,
    ROWS_PER_BATCH,
)
from xpaste_ray.backgrounds.sources import Catalogue, Place, Source
from xpaste_ray.categories import category_to_coco
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.fingerprints import hash_file
from xpaste_ray.pictures.headers import Header
from xpaste_ray.runs import write_json

IMAGES_PER_PART = 256

# What the fingerprint covers, beside the annotations. Not paths: the same images elsewhere are the same.
_IDENTITY = ("id", "checksum", "height", "width", "image_id", "category_ids", "neg_category_ids",
             "not_exhaustive_category_ids", "rejected_category_ids")  # fmt: skip


def cut_parts(items: pa.Table, rows: int = IMAGES_PER_PART) -> list[pa.Table]:
    """Consecutive rows of a work list, `rows` or a few more: a Parquet row group is not torn apart."""
    paths, groups = items["path"].to_pylist(), items["row_group"].to_pylist()
    starts = [0]
    for row in range(1, items.num_rows):
        torn = groups[row] is not None and (paths[row], groups[row]) == (paths[row - 1], groups[row - 1])
        if row - starts[-1] >= rows and not torn:
            starts.append(row)
    ends = [*starts[1:], items.num_rows]
    return [items.slice(start, end - start) for start, end in zip(starts, ends, strict=True)]


def index_part(source: Source, items: pa.Table) -> pa.Table:
    """Decode each image of a part of the work list, strictly. Returns `layout.PART`, in order."""
    rows = items.to_pylist()
    places = [Place(row["path"], row["row_group"], row["row"]) for row in rows]
    with _mapped(source.annotation_file()) as json_bytes:
        fetched = source.fetch(places)
        made = [_index_row(source, row, data, json_bytes) for row, data in zip(rows, fetched, strict=True)]
    return pa.Table.from_pylist(made, schema=PART)


def index_serially(source: Source, items: pa.Table) -> Iterator[pa.Table]:
    """All parts of a work list, one after the other, in this process."""
    for part in cut_parts(items):
        yield index_part(source, part)


def _mapped(path: Path | None) -> AbstractContextManager[mmap.mmap | bytes]:
    if path is None:
        return nullcontext(b"")
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _index_row(
    source: Source, item: dict[str, Any], data: bytes | RowError, json_bytes: mmap.mmap | bytes
) -> dict[str, Any]:
    """A row of `layout.PART`. A broken image stays, with its reason, and its annotations are counted."""
    spans, declared = item.pop("spans"), declared_size(item.pop("height"), item.pop("width"))
    try:
        if isinstance(data, RowError):
            raise data
        header = source.check(data)
    except RowError as error:
        lost = ["image_rejected"] * len(spans)
        found = {
            "status": "rejected",
            "reason": error.reason,
            "annotations": [],
            "rejected_annotations": lost,
            "rejected_category_ids": [],
        }
        return item | found
    try:
        entries = [json.loads(json_bytes[span["start"] : span["end"]]) for span in spans]
    except ValueError:
        file = source.annotation_file()
        raise ConfigError(
            f"backgrounds: {file} changed while it was indexed: run the command again"
        ) from None
    annotations, rejected, categories = _annotations(entries, header, declared)
    height, width = header.upright_size_hw
    made = item | {
        "status": "ok",
        "reason": None,
        "height": height,
        "width": width,
        "file_bytes": len(data),
        "crc32": zlib.crc32(data),
        "checksum": blake2b(data, digest_size=16).hexdigest(),
        "annotations": annotations,
        "rejected_annotations": rejected,
        "rejected_category_ids": categories,
    }
    return made | {"identity": _identity(made)}


def _identity(row: dict[str, Any]) -> str:
    """32 hex digits of what makes a usable image what it is."""
    annotations = [{**one, "counts": one["counts"].decode("ascii")} for one in row["annotations"]]
    text = json.dumps([*(row[name] for name in _IDENTITY), annotations])
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _annotations(
    entries: Sequence[dict[str, Any]], header: Header, declared_hw: tuple[int, int] | None
) -> tuple[list[dict[str, Any]], list[str], list[int]]:
    """What could be encoded, a reason for each that could not, and the categories of these, ascending."""
    annotations: list[dict[str, Any]] = []
    rejected: list[str] = []
    categories: set[int] = set()
    for entry in entries:
        try:
            annotations.append(encode_annotation(entry, frame_of(header, declared_hw)))
        except RowError as error:
            rejected.append(error.reason)
            categories.add(entry["category_id"])
    return annotations, rejected, sorted(categories)


@dataclass(slots=True)
class _Totals:
    """What is counted while the files are written."""

    images: int = 0
    annotations: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_annotations: Counter[str] = field(default_factory=Counter)

    def add(self, batch: pa.Table) -> None:
        self.images += batch.num_rows
        self.annotations += pc.list_value_length(batch["annotations"]).to_numpy().sum()
        self.rejected.update(batch["reason"].drop_null().to_pylist())
        self.rejected_annotations.update(pc.list_flatten(batch["rejected_annotations"]).to_pylist())


def write_index(folder: Path, source: Source, catalogue: Catalogue, parts: Iterable[pa.Table]) -> None:
    """Write the index of the parts, which come in source order and cover the catalogue.

    `folder` is there and empty. The manifest is written last. ConfigError if no image is usable.
    """
    totals = _Totals(rejected_annotations=Counter(catalogue.rejected_annotations))
    categories = [category_to_coco(category) for category in catalogue.categories]
    digest = blake2b(json.dumps([categories, catalogue.is_lvis]).encode(), digest_size=8)
    with (
        pa.ipc.new_file(str(folder / INDEX), INDEX_SCHEMA) as index,
        pa.ipc.new_file(str(folder / ANNOTATIONS), ANNOTATION_SCHEMA) as annotations,
    ):
        waiting = ANNOTATION_SCHEMA.empty_table()
        for batch in _rebatched(parts, PART):
            index.write_batch(_index_batch(batch, totals.annotations))
            totals.add(batch)
            digest.update("".join(batch["identity"].drop_null().to_pylist()).encode())
            waiting = pa.concat_tables([waiting, _flat_annotations(batch)])
            whole = len(waiting) // ROWS_PER_BATCH * ROWS_PER_BATCH
            for start in range(0, whole, ROWS_PER_BATCH):
                annotations.write_batch(_one_batch(waiting.slice(start, ROWS_PER_BATCH)))
            waiting = waiting.slice(whole)
        if len(waiting):
            annotations.write_batch(_one_batch(waiting))
    if totals.rejected.total() == totals.images:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(totals.rejected.items()))
        raise ConfigError(f"backgrounds: no image is usable ({reasons}): give others, or repair them")
    write_json(folder / MANIFEST, _manifest(folder, source, catalogue, totals, digest.hexdigest()))


def _manifest(
    folder: Path, source: Source, catalogue: Catalogue, totals: _Totals, fingerprint: str
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "kind": source.kind,
        "is_lvis": catalogue.is_lvis,
        "images": totals.images,
        "rejected": dict(sorted(totals.rejected.items())),
        "annotations": int(totals.annotations),
        "rejected_annotations": dict(sorted(totals.rejected_annotations.items())),
        "categories": [category_to_coco(category) for category in catalogue.categories],
        "files": [{"name": name, "checksum": hash_file(folder / name)} for name in (INDEX, ANNOTATIONS)],
    }


def _rebatched(parts: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `ROWS_PER_BATCH`, the last one shorter."""
    waiting = schema.empty_table()
    for part in parts:
        waiting = pa.concat_tables([waiting, part])
        while len(waiting) >= ROWS_PER_BATCH:
            yield waiting.slice(0, ROWS_PER_BATCH).combine_chunks()
            waiting = waiting.slice(ROWS_PER_BATCH)
    if len(waiting):
        yield waiting.combine_chunks()


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    (batch,) = table.combine_chunks().to_batches()
    return batch


def _flat_annotations(batch: pa.Table) -> pa.Table:
    structs = pc.list_flatten(batch["annotations"]).combine_chunks()
    return pa.Table.from_arrays(structs.flatten(), schema=ANNOTATION_SCHEMA)


def _index_batch(batch: pa.Table, annotations_before: int) -> pa.RecordBatch:
    """The images' columns, with the place of their annotations instead of these."""
    counts = pc.list_value_length(batch["annotations"]).to_numpy()
    ends = annotations_before + np.cumsum(counts, dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    crowds = np.concatenate([[0], np.cumsum(_flat_annotations(batch)["iscrowd"].to_numpy())])
    objects = counts - (crowds[offsets[1:]] - crowds[offsets[:-1]])
    columns = [batch[name] for name in INDEX_SCHEMA.names[:-3]]
    added = [pa.array(ends - counts), pa.array(counts, pa.int32()), pa.array(objects, pa.int32())]
    return _one_batch(pa.Table.from_arrays([*columns, *added], schema=INDEX_SCHEMA))
