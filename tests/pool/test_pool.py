import pickle
import shutil

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import CATEGORIES, disc, seal_discs
from tests.pool.pairs import seal_pairs
from xpaste_ray.categories import Category
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pipelines.outcomes import kept_in
from xpaste_ray.pool import open_pool, seal, write
from xpaste_ray.pool.check import check_pool
from xpaste_ray.pool.cutout import cut_out
from xpaste_ray.pool.layout import FORMAT, INDEX, INDEX_SCHEMA, MANIFEST
from xpaste_ray.runs import read_json, write_json
from xpaste_ray.storage import locate


def test_what_was_sealed_is_read_back(make_pool):
    pool = make_pool({"banana": 2, "lion": 1})
    assert len(pool) == 3
    assert pool.instance_ids == ["45-0-test-hand-0", "45-1-test-hand-0", "649-0-test-hand-0"]
    instance = pool.instance(1)
    expected = disc(40, 9)[11:29, 11:29]  # radius 9, cropped to its box
    assert np.array_equal(instance.rgba[..., 3] == 255, expected)
    assert (instance.rgba[..., :3][expected] == (45, 10, 90)).all()
    assert instance.size_hw == pool.size_hw(1) == (18, 18)
    assert instance.category_id == 45


def test_provenance_leads_back_to_the_prompt(make_pool):
    told = make_pool({"banana": 2}).provenance(1)
    assert (told["candidate_id"], told["text"], told["seed"]) == ("45-1-test", "a photo of banana", 7)
    assert told["source_size_hw"] == [40, 40] and told["source_box_xywh"] == [11, 11, 18, 18]


def test_instances_of_one_image_are_told_whatever_their_category(tmp_path, make_pool):
    """EM-Paste: a candidate is one image and one of its categories. Generated images have no hash: there each
    candidate is an image of its own."""
    pool = seal_pairs(tmp_path / "pairs", {"a": ["banana", "lion"], "b": ["frog"], "c": ["lion", "frog"]})
    told = [pool.provenance(row) for row in range(len(pool))]
    assert len({one["candidate_id"] for one in told}) == len(pool) == 5
    shown = [sorted(told[row]["category"] for row in rows) for rows in pool.rows_by_source_image]
    assert sorted(shown) == [["banana", "lion"], ["frog"], ["frog", "lion"]]
    for rows in pool.rows_by_source_image:
        assert len({told[row]["uri"] for row in rows}) == 1
    generated = make_pool({"banana": 2, "lion": 1})
    assert [rows.tolist() for rows in generated.rows_by_source_image] == [[0], [1], [2]]
    assert list(check_pool(locate(pool.folder))) == []


def test_kept_candidates_are_counted_as_pairs_and_not_as_images(tmp_path):
    """Two pairs of one image are two candidates: as images, made = kept + rejected would not balance."""
    pool = seal_pairs(tmp_path, {"a": ["banana", "lion"], "b": ["frog"]})
    assert kept_in(locate(pool.folder)) == {"candidate": 3, "proposal": 3}


def test_an_index_that_tells_of_another_image_is_found(tmp_path):
    pool = seal_pairs(tmp_path, {"a": ["banana", "lion"]})
    index = pa.ipc.open_file(pa.BufferReader((pool.folder / INDEX).read_bytes())).read_all()
    moved = pa.array(["another", *index["image"].to_pylist()[1:]])
    index = index.set_column(index.schema.get_field_index("image"), INDEX_SCHEMA.field("image"), moved)
    with pa.ipc.new_file(str(pool.folder / INDEX), INDEX_SCHEMA) as file:
        file.write_table(index)
    told = read_json(pool.folder / MANIFEST)
    told["index"]["checksum"] = hash_bytes((pool.folder / INDEX).read_bytes())
    write_json(pool.folder / MANIFEST, told)
    (problem,) = check_pool(locate(pool.folder))
    assert problem[0] == "shard-00000.arrow" and "the index says something else" in problem[1]


def test_pools_of_an_earlier_format_are_refused(make_pool):
    pool = make_pool({"frog": 1})
    write_json(pool.folder / MANIFEST, read_json(pool.folder / MANIFEST) | {"format": FORMAT - 1})
    with pytest.raises(ConfigError, match=f"pool format {FORMAT - 1} is not {FORMAT}: build it again"):
        open_pool(pool.folder)


def test_categories_without_instances_are_listed_and_not_drawable(make_pool):
    pool = make_pool({"banana": 1})
    assert pool.categories == CATEGORIES
    assert {key: rows.tolist() for key, rows in pool.rows_by_category.items()} == {45: [0]}


def test_categories_take_the_numbers_of_a_datasets_own(make_pool):
    """banana 45, frog 470 and lion 649 where "Banana" is 1 and 649 is a lamp: the lion gets the next free."""
    pool = make_pool({"banana": 2, "frog": 1, "lion": 1})
    theirs = [Category(1, "Banana", frequency="r"), Category(649, "lamp")]
    told = pool.in_vocabulary(theirs)
    frog = CATEGORIES[1]
    assert [(c.id, c.name) for c in told.categories] == [(1, "Banana"), (frog.id, "frog"), (650, "lion")]
    assert told.categories[0].synonyms == CATEGORIES[0].synonyms and told.categories[0].frequency == "r"
    assert told.category_ids.tolist() == [1, 1, frog.id, 650] and told.instance(3).category_id == 650
    assert told.instance_ids == pool.instance_ids
    again = pickle.loads(pickle.dumps(told))
    assert again.categories == told.categories and again.category_ids.tolist() == told.category_ids.tolist()
    assert told.in_vocabulary(theirs).categories == told.categories
    assert pool.in_vocabulary(()) is pool


def test_bytes_do_not_depend_on_the_run(make_pool):
    first, second = make_pool({"frog": 3}, "one"), make_pool({"frog": 3}, "two")
    names = sorted(path.name for path in first.folder.iterdir())
    assert names == ["index.arrow", "manifest.json", "shard-00000.arrow"]
    for name in names:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_many_shards_and_batches_keep_the_order(make_pool, monkeypatch):
    monkeypatch.setattr(write, "ROWS_PER_SHARD", 2)
    monkeypatch.setattr(write, "_MAX_BATCH_BYTES", 1)
    pool = make_pool({"banana": 3, "frog": 2})
    assert len(pool.manifest["shards"]) == 3
    assert [pool.instance(row).instance_id for row in range(5)] == pool.instance_ids
    assert [pool.instance(row).size_hw for row in range(5)] == [
        (16, 16),
        (18, 18),
        (20, 20),
        (16, 16),
        (18, 18),
    ]


def test_unusable_cut_out_is_rejected_with_its_candidate(make_pool, monkeypatch):
    """make_pool asserts that nothing is rejected, so what seal_pool returned is taken from its call."""
    told = []

    def no_frogs(image, mask, settings):
        if image[20, 20, 0] == 475 % 256:
            raise RowError("cutout_too_small")
        return cut_out(image, mask, settings)

    monkeypatch.setattr(seal, "cut_out", no_frogs)
    monkeypatch.setattr("tests.conftest.seal_pool", lambda *a: told.extend(seal.seal_pool(*a)) or [])
    pool = make_pool({"banana": 1, "frog": 1, "lion": 1})
    assert pool.instance_ids == ["45-0-test-hand-0", "649-0-test-hand-0"]
    assert told == [
        ("proposal", "475-0-test-hand-0", "frog", "cutout_too_small"),
        ("candidate", "475-0-test", "frog", "cutout_too_small"),
    ]


def test_run_points_at_its_current_pool(make_pool):
    pool = make_pool({"frog": 1})
    run = pool.folder.parent.parent
    write_json(run / "pool.json", {"current": "pools/pool"})
    assert open_pool(str(run)).instance_ids == pool.instance_ids


def test_folder_without_a_pool_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="holds no sealed pool"):
        open_pool(tmp_path)


def test_lost_shard_is_an_error_that_says_so(make_pool):
    pool = make_pool({"frog": 1})
    copy = pool.folder.with_name("copy")
    shutil.copytree(pool.folder, copy)
    (copy / "shard-00000.arrow").write_bytes(b"ARROW")
    with pytest.raises(ConfigError, match="damaged or missing.*seal the pool again"):
        open_pool(copy)


def test_any_order_and_number_of_sealers_writes_the_same_bytes(tmp_path, monkeypatch):
    """Three shards of two instances, sealed last first."""

    def backwards(sealer, shards):
        done = {number: sealer(number, shards[number]) for number in reversed(range(len(shards)))}
        return [done[number] for number in range(len(shards))]

    monkeypatch.setattr(write, "ROWS_PER_SHARD", 2)
    pools = {}
    for name, shard_map in (("serial", seal.seal_serially), ("backwards", backwards)):
        monkeypatch.setattr(
            "tests.conftest.seal_pool", lambda *a, shard_map=shard_map: seal.seal_pool(*a, shard_map)
        )
        pools[name] = seal_discs(tmp_path / name, {"banana": 2, "frog": 1, "lion": 3})
    assert [entry["rows"] for entry in pools["serial"].manifest["shards"]] == [2, 2, 2]
    for path in pools["serial"].folder.iterdir():
        assert path.read_bytes() == (pools["backwards"].folder / path.name).read_bytes()
