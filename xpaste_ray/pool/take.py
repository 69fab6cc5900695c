"""A part of a pool: at most so many instances of each category."""

from collections.abc import Iterator

from xpaste_ray.pool.reader import Pool
from xpaste_ray.pool.write import Row, check_new, write_pool
from xpaste_ray.rng import int_seed_for
from xpaste_ray.storage import Location


def take_instances(pool: Pool, per_category: int, folder: Location, seed: int = 0) -> int:
    """Write the part as a pool; returns how many instances it has. Which ones follows from the seed and each
    one's id, so that a smaller part lies in a larger one. Pixels stay as they are stored."""
    check_new(folder)
    rows = _taken(pool, per_category, seed)
    write_pool(folder, _stored(pool, rows), pool.categories, [])
    return len(rows)


def _taken(pool: Pool, per_category: int, seed: int) -> list[int]:
    """In the pool's order."""
    ids = pool.instance_ids

    def lot(row: int) -> int:
        return int_seed_for(seed, "take", ids[row])

    of_each = (sorted(rows.tolist(), key=lot)[:per_category] for rows in pool.rows_by_category.values())
    return sorted(row for rows in of_each for row in rows)


def _stored(pool: Pool, rows: list[int]) -> Iterator[Row]:
    return (pool.stored(row) for row in rows)
