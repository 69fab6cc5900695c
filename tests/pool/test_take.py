"""A part of a pool."""

from xpaste_ray.pool import open_pool
from xpaste_ray.pool.take import take_instances
from xpaste_ray.storage import locate


def taken(pool, folder, count):
    take_instances(pool, count, locate(folder))
    return open_pool(folder)


def test_each_category_has_at_most_so_many(make_pool, tmp_path):
    part = taken(make_pool({"banana": 5, "frog": 1}), tmp_path / "part", 3)
    assert [len(rows) for rows in part.rows_by_category.values()] == [3, 1]


def test_a_smaller_part_lies_in_a_larger_one(make_pool, tmp_path):
    pool = make_pool({"banana": 6})
    two, four = (taken(pool, tmp_path / str(count), count) for count in (2, 4))
    assert set(two.instance_ids) < set(four.instance_ids) < set(pool.instance_ids)


def test_pixels_and_categories_stay_as_they_are(make_pool, tmp_path):
    pool = make_pool({"banana": 3})
    part = taken(pool, tmp_path / "part", 1)
    (name,) = part.instance_ids
    assert part.stored(0) == pool.stored(pool.row_of_id[name])
    assert part.categories == pool.categories
