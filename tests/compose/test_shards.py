import json

from pycocotools.coco import COCO

from tests.conftest import CATEGORIES
from xpaste_ray.compose.plan import PlanOptions
from xpaste_ray.compose.shards import write_shard
from xpaste_ray.formats.coco import Shard, plan_shards, write_annotations

OPTIONS = PlanOptions(side_px=64, instances=(1, 5), size_fraction=(0.2, 0.5), flip_probability=0.5)


def _write(dataset, pool, backgrounds, shards):
    for shard in shards:
        write_shard(dataset, shard, pool, backgrounds, OPTIONS, 0, 0.25, 90)


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
    images, annotations = write_annotations(tmp_path, shards, CATEGORIES, {"description": "x"})
    coco = COCO(str(tmp_path / "annotations.json"))
    assert (len(coco.imgs), len(coco.anns)) == (images, annotations) and images == 7
    assert sorted(coco.anns) == list(range(1, annotations + 1))
    assert {category["id"] for category in coco.dataset["categories"]} == {45, 475, 649}
    assert all((tmp_path / "images" / image["file_name"]).exists() for image in coco.imgs.values())


def test_dataset_without_annotations_is_valid_json(tmp_path):
    write_annotations(tmp_path, [], CATEGORIES, {})
    assert json.loads((tmp_path / "annotations.json").read_text())["annotations"] == []
