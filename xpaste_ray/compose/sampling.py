"""Who is pasted."""

import numpy as np

from xpaste_ray.pool import Pool


def balanced_rows(rng: np.random.Generator, pool: Pool, count: int) -> list[int]:
    """`count` pool rows with replacement: a uniform category, then a uniform instance of it.

    Categories without instances are never drawn. Source: X-Paste's `cas_random`.
    """
    categories = list(pool.rows_by_category.values())
    chosen = []
    for _ in range(count):
        rows = categories[rng.integers(len(categories))]
        chosen.append(int(rows[rng.integers(len(rows))]))
    return chosen
