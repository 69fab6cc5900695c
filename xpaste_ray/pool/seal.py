"""Sealing: from selected proposals to an immutable, memory-mapped pool.

Instances are written in the order of the selection. Shards are cut by position in that order, so
the bytes do not depend on who writes which shard.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xpaste_ray.categories import Category, category_to_coco
from xpaste_ray.errors import RowError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.masks import decode_png
from xpaste_ray.pool.cutout import cut_out
from xpaste_ray.pool.layout import FORMAT, INDEX, INDEX_SCHEMA, INSTANCE_SCHEMA, MANIFEST, shard_name
from xpaste_ray.records import instance_id, unit_id
from xpaste_ray.runs import write_json
from xpaste_ray.storage import Location, locate

_ROWS_PER_SHARD = 1024  # at most 270 MB of pixels at 256 px
_MAX_BATCH_BYTES = 64 * 1024**2

_PROVENANCE = (
    "category_id", "category", "candidate_id", "source", "model", "text", "seed", "uri", "licence", "page",
    "content_hash",
)  # fmt: skip

UnitFile = Callable[[str], Location]
Rejection = tuple[str, str, str, str]  # kind, id, category, reason: a row of records.REJECTS


@dataclass(frozen=True, slots=True)
class SealedShard:
    """What the pool needs to know of a shard that is written. index: rows of `INDEX_SCHEMA`; entry: its part
    of the manifest; rejections: proposals and candidates whose cut-out turned out unusable."""

    index: pa.Table
    entry: dict[str, Any]
    rejections: list[Rejection]


@dataclass(frozen=True, slots=True)
class ShardSealer:
    """Writes one shard of a pool: number and rows of `records.SCORES` in, any process."""

    unit_file: UnitFile
    max_side_px: int
    folder: Location

    def __call__(self, number: int, kept: pa.Table) -> SealedShard:
        rows, rejections = _instances(kept, self.unit_file, self.max_side_px)
        name = shard_name(number)
        data, index = _shard(rows, number)
        (self.folder / name).write_whole(data)
        entry = {"name": name, "rows": len(rows), "checksum": hash_bytes(data)}
        return SealedShard(pa.Table.from_pylist(index, schema=INDEX_SCHEMA), entry, rejections)


ShardMap = Callable[[ShardSealer, Sequence[pa.Table]], Iterable[SealedShard]]
"""Calls the sealer with number and rows of every shard; returns the results in order."""


def seal_serially(sealer: ShardSealer, shards: Sequence[pa.Table]) -> Iterator[SealedShard]:
    return map(sealer, itertools.count(), shards)


def seal_pool(
    kept: pa.Table,
    unit_file: UnitFile,
    categories: Sequence[Category],
    max_side_px: int,
    fingerprint: str,
    out_dir: Path | Location,
    shard_map: ShardMap = seal_serially,
) -> list[Rejection]:
    """Write the pool of the `kept` rows of `records.SCORES`, in their order.

    Returns the proposals and candidates whose cut-out turned out unusable. The manifest is written
    last: a folder without one is not a pool. `shard_map`: who writes the shards.
    """
    folder = locate(out_dir)
    parts = [kept.slice(start, _ROWS_PER_SHARD) for start in range(0, kept.num_rows, _ROWS_PER_SHARD)]
    shards = list(shard_map(ShardSealer(unit_file, max_side_px, folder), parts))
    index = pa.concat_tables([INDEX_SCHEMA.empty_table(), *(shard.index for shard in shards)])
    index_data = _ipc_bytes(INDEX_SCHEMA, index.combine_chunks().to_batches())
    (folder / INDEX).write_whole(index_data)
    counts = Counter(index["category_id"].to_pylist())
    write_json(
        folder / MANIFEST,
        {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "instances": index.num_rows,
            "categories": [
                {**category_to_coco(category), "instances": counts[category.id]} for category in categories
            ],
            "index": {"name": INDEX, "checksum": hash_bytes(index_data)},
            "shards": [shard.entry for shard in shards],
        },
    )
    return [rejection for shard in shards for rejection in shard.rejections]


def _instances(
    kept: pa.Table, unit_file: UnitFile, max_side_px: int
) -> tuple[list[dict[str, Any]], list[Rejection]]:
    """Cut-outs of one shard's proposals, in order; every unit file that it needs is read once."""
    wanted = kept.select(["round", "unit", "candidate_id", "category", "method", "ordinal"]).to_pylist()
    by_unit: dict[str, list[int]] = {}
    for position, row in enumerate(wanted):
        by_unit.setdefault(unit_id(row["round"], row["unit"]), []).append(position)
    made: dict[int, dict[str, Any]] = {}
    rejections: list[Rejection] = []
    for unit, positions in by_unit.items():
        names = [wanted[position]["candidate_id"] for position in positions]
        with unit_file(unit).open() as file:
            wanted_ids = [("candidate_id", "in", names)]
            table = pq.read_table(file, filters=wanted_ids, page_checksum_verification=True)
        candidates = {row["candidate_id"]: row for row in table.to_pylist()}
        for position in positions:
            row = wanted[position]
            try:
                made[position] = _instance(candidates[row["candidate_id"]], row, max_side_px)
            except RowError as error:
                proposal = instance_id(row["candidate_id"], row["method"], row["ordinal"])
                rejections.append(("proposal", proposal, row["category"], error.reason))
                rejections.append(("candidate", row["candidate_id"], row["category"], error.reason))
    return [made[position] for position in sorted(made)], rejections


def _instance(candidate: dict[str, Any], wanted: dict[str, Any], max_side_px: int) -> dict[str, Any]:
    """A row of `INSTANCE_SCHEMA`."""
    key = (wanted["method"], wanted["ordinal"])
    (proposal,) = (p for p in candidate["proposals"] if (p["method"], p["ordinal"]) == key)
    cutout = cut_out(decode_png(candidate["image_png"]), decode_png(proposal["mask_png"]), max_side_px)
    return {
        "instance_id": instance_id(candidate["candidate_id"], *key),
        "height": cutout.rgba.shape[0],
        "width": cutout.rgba.shape[1],
        "encoding": "raw",
        "rgba": cutout.rgba.tobytes(),
        "clip_logit": dict(proposal["scores"])["clip_logit"],
        "area_fraction": proposal["area_fraction"],
        "method": proposal["method"],
        "ordinal": proposal["ordinal"],
        "source_size_hw": [candidate["height"], candidate["width"]],
        "source_box_xywh": list(cutout.source_box_xywh),
        **{name: candidate[name] for name in _PROVENANCE},
    }


def _shard(rows: list[dict[str, Any]], number: int) -> tuple[bytes, list[dict[str, Any]]]:
    """The bytes of one shard's file, and its rows of the index."""
    batches, index = [], []
    for batch_number, batch in enumerate(_batches(rows)):
        batches.append(pa.RecordBatch.from_pylist(batch, schema=INSTANCE_SCHEMA))
        index += [
            {
                "instance_id": row["instance_id"],
                "category_id": row["category_id"],
                "source_image": row["candidate_id"],
                "height": row["height"],
                "width": row["width"],
                "shard": number,
                "batch": batch_number,
                "offset": offset,
            }
            for offset, row in enumerate(batch)
        ]
    return _ipc_bytes(INSTANCE_SCHEMA, batches), index


def _batches(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Consecutive rows whose pixels stay within the bound of a record batch."""
    batches: list[list[dict[str, Any]]] = []
    room = 0
    for row in rows:
        size = len(row["rgba"])
        if not batches or size > room:
            batches.append([])
            room = _MAX_BATCH_BYTES
        batches[-1].append(row)
        room -= size
    return batches


def _ipc_bytes(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data
