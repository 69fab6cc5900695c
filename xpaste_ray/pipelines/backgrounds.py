"""Indexing backgrounds on Ray: parts of the work list go to actors, their results come back in order."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from xpaste_ray.backgrounds import Backgrounds, Indexer, Progress, Source, open_or_index
from xpaste_ray.backgrounds.index import IMAGES_PER_PART, cut_parts, index_part, index_serially
from xpaste_ray.pipelines.resources import compose_resources
from xpaste_ray.worker import prepare_worker

SERIAL_BELOW = 512  # images; starting Ray takes longer than decoding these

_PARTS = pa.schema([pa.field("number", pa.int64()), pa.field("table", pa.large_binary())])


def index_backgrounds(
    source: Source,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    ray_cpus: float | None = None,
) -> Backgrounds:
    """The backgrounds of a source, indexed if they are not in the cache.

    Few images are indexed in this process, many on Ray, with the same bytes. workers: actors, one a
    core of this machine if not given. ray_cpus: what a Ray that is started here must have for later work.
    """
    workers = workers or os.cpu_count() or 1
    ray_cpus = ray_cpus or workers * compose_resources(workers).cpus
    indexer: Indexer = partial(index_by_size, workers=workers, ray_cpus=ray_cpus)
    return open_or_index(source, cache_dir, indexer, progress)


def index_by_size(source: Source, items: pa.Table, workers: int, ray_cpus: float) -> Iterator[pa.Table]:
    if items.num_rows < SERIAL_BELOW:
        return index_serially(source, items)
    return index_on_ray(source, items, workers, ray_cpus)


def index_on_ray(
    source: Source,
    items: pa.Table,
    workers: int,
    ray_cpus: float,
    images_per_part: int = IMAGES_PER_PART,
) -> Iterator[pa.Table]:
    """The parts of the work list, in order, whoever was faster."""
    from xpaste_ray.pipelines.ray_profile import actor_stage, configure_data, dataset_of, start_ray

    start_ray(ray_cpus)
    configure_data()  # progress is counted where the results arrive
    parts = [
        pa.Table.from_pylist([{"number": number, "table": _to_bytes(part)}], schema=_PARTS)
        for number, part in enumerate(cut_parts(items, images_per_part))
    ]
    actors = compose_resources(min(workers, len(parts)))
    indexed = actor_stage(dataset_of(parts), "index", IndexActor, actors, {"source": source})
    early: dict[int, bytes] = {}
    wanted = 0
    for row in indexed.iter_rows():
        early[row["number"]] = row["table"]
        while wanted in early:
            yield _from_bytes(early.pop(wanted))
            wanted += 1


class IndexActor:
    """Indexes parts; a part is one row, as Arrow IPC, so Ray cannot tear it apart."""

    def __init__(self, source: Source) -> None:
        self._source = source
        prepare_worker()

    def __call__(self, batch: pa.Table) -> pa.Table:
        made: list[dict[str, Any]] = [
            {"number": row["number"], "table": _to_bytes(index_part(self._source, _from_bytes(row["table"])))}
            for row in batch.to_pylist()
        ]
        return pa.Table.from_pylist(made, schema=_PARTS)


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _from_bytes(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()
