"""The compose pipeline: shards of consecutive samples on Ray Data, then one annotation file."""

import time
from pathlib import Path

import pyarrow as pa

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.compose.plan import PlanOptions
from xpaste_ray.compose.shards import write_shard
from xpaste_ray.config import ComposeSettings
from xpaste_ray.formats.coco import Shard, fragment_path, plan_shards
from xpaste_ray.pipelines.steps import Inputs
from xpaste_ray.pool import open_pool

_SHARDS = pa.schema([pa.field("first", pa.int64()), pa.field("last", pa.int64())])


def shards_of(settings: ComposeSettings) -> list[Shard]:
    return plan_shards(settings.count, settings.samples_per_shard)


def missing_shards(dataset: Path, shards: list[Shard]) -> list[Shard]:
    """Shards without a fragment. The fragment is written last: present means done."""
    return [shard for shard in shards if not fragment_path(dataset, shard).exists()]


def plan_options(settings: ComposeSettings) -> PlanOptions:
    return PlanOptions(
        side_px=settings.side_px,
        instances=settings.instances,
        size_fraction=settings.size_fraction,
        flip_probability=settings.flip_probability,
    )


class ComposeActor:
    """Writes shards. It memory-maps the pool once; the plans follow from sample numbers alone."""

    def __init__(
        self, dataset: Path, pool: Path, backgrounds: Backgrounds, settings: ComposeSettings, seed: int
    ) -> None:
        self._dataset, self._backgrounds, self._settings, self._seed = dataset, backgrounds, settings, seed
        self._pool = open_pool(pool)

    def __call__(self, batch: pa.Table) -> pa.Table:
        began = time.perf_counter()
        settings = self._settings
        for row in batch.to_pylist():
            write_shard(
                self._dataset,
                Shard(row["first"], row["last"]),
                self._pool,
                self._backgrounds,
                plan_options(settings),
                self._seed,
                settings.min_visible_fraction,
                settings.jpeg_quality,
            )
        return pa.table({"seconds": [time.perf_counter() - began]})


def run_shards(dataset: Path, shards: list[Shard], pool: Path, inputs: Inputs) -> float:
    """Compose the given shards on actors; returns their busy seconds.

    Ray must be running and its data context configured.
    """
    import ray.data

    from xpaste_ray.pipelines.ray_profile import actor_stage

    settings = inputs.settings
    rows = [pa.Table.from_pylist([{"first": s.first, "last": s.last}], schema=_SHARDS) for s in shards]
    kwargs = {
        "dataset": dataset,
        "pool": pool,
        "backgrounds": inputs.backgrounds,
        "settings": settings.compose,
        "seed": settings.seed,
    }
    actors = settings.resources.compose_actors
    composed = actor_stage(ray.data.from_arrow(rows), "compose", ComposeActor, actors, kwargs)
    return float(sum(row["seconds"] for row in composed.iter_rows()))
