"""The instance pool: sealed once, then memory-mapped and sampled by category."""

from xpaste_ray.pool.reader import Instance, Pool, is_sealed, open_pool
from xpaste_ray.pool.seal import seal_pool

__all__ = ["Instance", "Pool", "is_sealed", "open_pool", "seal_pool"]
