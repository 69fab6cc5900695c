"""Shards of a pool, sealed by tasks on Ray."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import ray

from xpaste_ray.pool import SealedShard, ShardSealer


def seal_on_ray(sealer: ShardSealer, shards: Sequence[pa.Table]) -> Iterable[SealedShard]:
    """In order, a core a shard. Ray must be running."""
    task = ray.remote(num_cpus=1)(_seal)
    return ray.get([task.remote(sealer, number, shard) for number, shard in enumerate(shards)])


def _seal(sealer: ShardSealer, number: int, kept: pa.Table) -> SealedShard:
    return sealer(number, kept)
