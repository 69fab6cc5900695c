"""The instance pool: sealed once, then memory-mapped and sampled by category."""

from xpaste_ray.pool.reader import Instance, Pool, current_pool, is_sealed, open_pool
from xpaste_ray.pool.seal import SealedShard, ShardMap, ShardSealer, seal_pool, seal_serially

__all__ = [
    "Instance",
    "Pool",
    "SealedShard",
    "ShardMap",
    "ShardSealer",
    "current_pool",
    "is_sealed",
    "open_pool",
    "seal_pool",
    "seal_serially",
]
