"""The compose pipeline: shards of consecutive samples on Ray Data, then one annotation file."""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from xpaste_ray.compose.shards import write_shard
from xpaste_ray.config import ComposeSettings
from xpaste_ray.formats.coco import Shard, is_committed, plan_shards
from xpaste_ray.pipelines.steps import Inputs
from xpaste_ray.pool import open_pool

_SHARDS = pa.schema([pa.field("first", pa.int64()), pa.field("last", pa.int64())])


def shards_of(settings: ComposeSettings) -> list[Shard]:
    return plan_shards(settings.count, settings.samples_per_shard)


def missing_shards(dataset: Path, shards: list[Shard], recipe: str) -> list[Shard]:
    """Shards without a fragment of this recipe. The fragment is written last: present means done."""
    return [shard for shard in shards if not is_committed(dataset, shard, recipe)]


class ComposeActor:
    """Writes shards. It memory-maps the pool once; the plans follow from sample numbers alone."""

    def __init__(self, dataset: Path, pool: Path, shard_kwargs: dict[str, Any]) -> None:
        self._dataset, self._pool, self._shard_kwargs = dataset, open_pool(pool), shard_kwargs

    def __call__(self, batch: pa.Table) -> pa.Table:
        began = time.perf_counter()
        for row in batch.to_pylist():
            shard = Shard(row["first"], row["last"])
            write_shard(self._dataset, shard, self._pool, **self._shard_kwargs)
        return pa.table({"seconds": [time.perf_counter() - began]})


def run_shards(dataset: Path, shards: list[Shard], pool: Path, inputs: Inputs, recipe: str) -> float:
    """Compose the given shards on actors; returns their busy seconds.

    Ray must be running and its data context configured.
    """
    import ray.data

    from xpaste_ray.pipelines.ray_profile import actor_stage

    settings = inputs.settings
    rows = [pa.Table.from_pylist([{"first": s.first, "last": s.last}], schema=_SHARDS) for s in shards]
    shard_kwargs = {
        "backgrounds": inputs.backgrounds,
        "settings": settings.compose,
        "seed": settings.seed,
        "recipe": recipe,
    }
    kwargs = {"dataset": dataset, "pool": pool, "shard_kwargs": shard_kwargs}
    actors = settings.resources.compose_actors
    composed = actor_stage(ray.data.from_arrow(rows), "compose", ComposeActor, actors, kwargs)
    return float(sum(row["seconds"] for row in composed.iter_rows()))
