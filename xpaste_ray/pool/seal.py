"""Sealing: from selected proposals to an immutable, memory-mapped pool.

Instances are written in the order of the selection. Shards are cut by position in that order, so
the bytes do not depend on who writes which shard.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpaste_ray.categories import Category
from xpaste_ray.config import CutoutSettings
from xpaste_ray.errors import RowError
from xpaste_ray.masks import decode_png
from xpaste_ray.pool import write
from xpaste_ray.pool.cutout import crop_cutout, cut_out
from xpaste_ray.pool.pixels import store_pixels
from xpaste_ray.pool.write import Rejection, Row, WrittenShard, finish_pool, write_shard
from xpaste_ray.records import GIVEN, instance_id, unit_id
from xpaste_ray.storage import Location, locate

_PROVENANCE = (
    "category_id", "category", "candidate_id", "source", "model", "text", "seed", "uri", "licence", "page",
    "content_hash",
)  # fmt: skip
_UNREAD = {"embedding", "overlaps"}  # columns that a cut-out does not need

UnitFile = Callable[[str], Location]


@dataclass(frozen=True, slots=True)
class SealedShard:
    """rejections: proposals and candidates whose cut-out turned out unusable."""

    written: WrittenShard
    rejections: list[Rejection]


@dataclass(frozen=True, slots=True)
class ShardSealer:
    """Writes one shard of a pool: number and rows of `records.SCORES` in, any process."""

    unit_file: UnitFile
    settings: CutoutSettings
    folder: Location

    def __call__(self, number: int, kept: pa.Table) -> SealedShard:
        rows, rejections = _instances(kept, self.unit_file, self.settings)
        return SealedShard(write_shard(self.folder, number, rows), rejections)


ShardMap = Callable[[ShardSealer, Sequence[pa.Table]], Iterable[SealedShard]]
"""Calls the sealer with number and rows of every shard; returns the results in order."""


def seal_serially(sealer: ShardSealer, shards: Sequence[pa.Table]) -> Iterator[SealedShard]:
    return map(sealer, count(), shards)


def seal_pool(
    kept: pa.Table,
    unit_file: UnitFile,
    categories: Sequence[Category],
    settings: CutoutSettings,
    fingerprint: str,
    out_dir: Path | Location,
    shard_map: ShardMap = seal_serially,
) -> list[Rejection]:
    """Write the pool of the `kept` rows of `records.SCORES`, in their order.

    Returns the proposals and candidates whose cut-out turned out unusable. The manifest is written
    last: a folder without one is not a pool. `shard_map`: who writes the shards.
    """
    folder, rows = locate(out_dir), write.ROWS_PER_SHARD
    parts = [kept.slice(start, rows) for start in range(0, kept.num_rows, rows)]
    shards = list(shard_map(ShardSealer(unit_file, settings, folder), parts))
    finish_pool(folder, [shard.written for shard in shards], categories, fingerprint)
    return [rejection for shard in shards for rejection in shard.rejections]


def _instances(
    kept: pa.Table, unit_file: UnitFile, settings: CutoutSettings
) -> tuple[list[Row], list[Rejection]]:
    """Cut-outs of one shard's proposals, in order; every unit file that it needs is read once, and every
    image is decoded once."""
    wanted = kept.select(["round", "unit", "candidate_id", "category", "method", "ordinal"]).to_pylist()
    by_unit: dict[str, dict[str, list[int]]] = {}
    for position, row in enumerate(wanted):
        by_candidate = by_unit.setdefault(unit_id(row["round"], row["unit"]), {})
        by_candidate.setdefault(row["candidate_id"], []).append(position)
    made: dict[int, Row] = {}
    rejections: dict[int, str] = {}
    for unit, by_candidate in by_unit.items():
        for candidate in _read_candidates(unit_file(unit), list(by_candidate)):
            image = decode_png(candidate["image_png"])
            for position in by_candidate[candidate["candidate_id"]]:
                try:
                    made[position] = _instance(candidate, image, wanted[position], settings)
                except RowError as error:
                    rejections[position] = error.reason
    told: list[Rejection] = []
    for position, reason in sorted(rejections.items()):
        row = wanted[position]
        proposal = instance_id(row["candidate_id"], row["method"], row["ordinal"])
        told.append(("proposal", proposal, row["category"], reason))
        told.append(("candidate", row["candidate_id"], row["category"], reason))
    return [made[position] for position in sorted(made)], told


def _read_candidates(file: Location, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of `records.candidates_schema`, without what no cut-out needs. PNGs are views of what was read."""
    source = pa.memory_map(file.key) if file.is_local else file.open()  # mapped, it is copied once less
    unit = pq.ParquetFile(source, page_checksum_verification=True)
    paths = (unit.schema.column(number).path for number in range(len(unit.schema)))
    # Without Arrow's threads: a shard is a task of one core, where handing columns over only costs time.
    columns = [path for path in paths if not _UNREAD & set(path.split("."))]
    table = unit.read(columns=columns, use_threads=False)
    wanted = set(ids)
    images = _views(table["image_png"])
    for place, row in enumerate(table.drop_columns(["image_png", "proposals"]).to_pylist()):
        if row["candidate_id"] in wanted:
            proposals = table["proposals"][place].values
            masks = _views(pa.chunked_array([proposals.field("mask_png")]))
            rest = pa.Table.from_struct_array(proposals).drop_columns("mask_png").to_pylist()
            told = [{**one, "mask_png": mask} for one, mask in zip(rest, masks, strict=True)]
            yield {**row, "image_png": images[place], "proposals": told}


def _views(column: pa.ChunkedArray) -> list[memoryview]:
    """The values of a column of large binaries, not copied as those of its scalars are."""
    views = []
    for chunk in column.chunks:
        _, ends, data = chunk.buffers()
        place = np.frombuffer(ends, np.int64)[chunk.offset :][: len(chunk) + 1].tolist()
        views += [memoryview(data or b"")[start:end] for start, end in pairwise(place)]
    return views


def _instance(
    candidate: dict[str, Any], image: np.ndarray, wanted: dict[str, Any], settings: CutoutSettings
) -> Row:
    key = (wanted["method"], wanted["ordinal"])
    (proposal,) = (p for p in candidate["proposals"] if (p["method"], p["ordinal"]) == key)
    mask = decode_png(proposal["mask_png"])
    if wanted["method"] == GIVEN:  # all parts of it: an object behind a tree has two
        cutout = crop_cutout(image, mask, settings.max_side_px)
    else:
        cutout = cut_out(image, mask, settings)
    stored, scores = store_pixels(cutout.rgba, settings), dict(proposal["scores"] or ())
    return {
        "instance_id": instance_id(candidate["candidate_id"], *key),
        "height": cutout.rgba.shape[0],
        "width": cutout.rgba.shape[1],
        "encoding": stored.encoding,
        "rgba": stored.data,
        "alpha": stored.alpha,
        "scores": sorted(scores.items()),
        "clip_logit": scores.get("clip_logit"),
        "area_fraction": proposal["area_fraction"],
        "method": proposal["method"],
        "ordinal": proposal["ordinal"],
        "source_size_hw": [candidate["height"], candidate["width"]],
        "source_box_xywh": list(cutout.source_box_xywh),
        **{name: candidate[name] for name in _PROVENANCE},
    }
