import json

from pycocotools.coco import COCO

from tests.conftest import CATEGORIES
from xpaste_ray.compose.shards import write_shard
from xpaste_ray.config import load_settings
from xpaste_ray.formats.coco import Shard, fragment_path, is_committed, plan_shards, write_annotations

SETTINGS = load_settings("demo", ["compose.side_px=64", "compose.instances=[1, 5]"]).compose


def _write(dataset, pool, backgrounds, shards):
    for shard in shards:
        write_shard(dataset, shard, pool, backgrounds, SETTINGS, 0, "recipe")


def _bytes(dataset, folder="images"):
    return {path.name: path.read_bytes() for path in (dataset / folder).iterdir()}


def test_images_do_not_depend_on_shards_or_their_order(tmp_path, make_pool, backgrounds):
    pool = make_pool({"banana": 2, "lion": 2})
    results = []
    for name, shards in (("a", plan_shards(7, 3)), ("b", plan_shards(7, 7)), ("c", plan_shards(7, 2)[::-1])):
        dataset = tmp_path / name
        _write(dataset, pool, backgrounds, shards)
        write_annotations(dataset, sorted(shards, key=lambda s: s.first), CATEGORIES, {})
        results.append((_bytes(dataset), (dataset / "annotations.json").read_bytes()))
    assert results[0] == results[1] == results[2]


def test_dataset_loads_with_pycocotools(tmp_path, make_pool, backgrounds):
    shards = plan_shards(7, 3)
    assert shards == [Shard(0, 2), Shard(3, 5), Shard(6, 6)]
    _write(tmp_path, make_pool({"banana": 2, "lion": 2}), backgrounds, shards)
    counts = write_annotations(tmp_path, shards, CATEGORIES, {"description": "x"})
    coco = COCO(str(tmp_path / "annotations.json"))
    assert (len(coco.imgs), len(coco.anns)) == (7, counts["annotations"]) and counts["images"] == 7
    assert counts["placed"] == counts["annotations"] + counts["hidden"] + counts["occluded"]
    assert sorted(coco.anns) == list(range(1, counts["annotations"] + 1))
    assert {category["id"] for category in coco.dataset["categories"]} == {45, 475, 649}
    assert all((tmp_path / "images" / image["file_name"]).exists() for image in coco.imgs.values())


def test_dataset_without_annotations_is_valid_json(tmp_path):
    write_annotations(tmp_path, [], CATEGORIES, {})
    assert json.loads((tmp_path / "annotations.json").read_text())["annotations"] == []


def test_only_a_whole_fragment_of_the_same_recipe_counts(tmp_path, make_pool, backgrounds):
    shard = Shard(0, 1)
    assert not is_committed(tmp_path, shard, "recipe")
    _write(tmp_path, make_pool({"lion": 1}), backgrounds, [shard])
    assert is_committed(tmp_path, shard, "recipe") and not is_committed(tmp_path, shard, "other")
    path = fragment_path(tmp_path, shard)
    for damaged in (path.read_bytes()[:-20], b"{}", b"[]"):
        path.write_bytes(damaged)
        assert not is_committed(tmp_path, shard, "recipe")
