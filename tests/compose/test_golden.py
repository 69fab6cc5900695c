"""One image so small that every number of it can be checked by hand, from a sealed pool to COCO's file."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.compose.options import options
from tests.compose.pools import pixels, write_pool
from tests.conftest import CATEGORIES
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.plan import PastePlan, Placement, View
from xpaste_ray.compose.shards import compose_shard, dataset_spec
from xpaste_ray.formats.dataset import finish
from xpaste_ray.formats.rle import rle_runs

BANANA, FROG, LION = (category.id for category in CATEGORIES)

# Three squares of 16 px: of a, 4 lie under b and 1 more under c; of b, 9 lie under c.
PICTURE = """
................
................
..aaaa..........
..aaaa..........
..aabbbb........
..accccb........
...ccccb........
...ccccb........
...cccc.........
................
................
................
................
................
................
................
"""
GREYS = {".": 100, "a": 1, "b": 2, "c": 3}

# Down the columns, zeros first: column 2 begins at 2 x 16 = 32, and a at 34.
RUNS = {
    "a": [34, 4, 12, 3, 13, 2, 14, 2, 172],
    "b": [68, 1, 15, 1, 15, 1, 15, 4, 136],
    "c": [53, 4, 12, 4, 12, 4, 12, 4, 151],
}
COUNTS = {"a": "R14<O1O10n4", "b": "T21?00003i3", "c": "e14<00000[4"}


@pytest.fixture
def composed(tmp_path, backgrounds):
    """The plan of three 4 x 4 squares on grey 100: the sample, and the folder of its dataset."""
    pool = write_pool(tmp_path / "pool", {name: pixels(4, 4, GREYS[name]) for name in "abc"})
    placements = (
        Placement("a", BANANA, (4, 4), (2, 2)),
        Placement("b", FROG, (4, 4), (4, 4)),
        Placement("c", LION, (4, 4), (5, 3)),
    )
    plan = PastePlan(0, "0.png", View((0, 0, 32, 32), (16, 16), False), (16, 16), placements)
    settings = options("count=1", "output={formats: [coco], image: png}")
    compositor = Compositor(pool, backgrounds, settings, seed=0)
    spec = dataset_spec(settings, pool, backgrounds, "recipe", {})
    compose_shard(tmp_path / "out", spec.shards[0], compositor, spec, [plan])
    finish(tmp_path / "out", spec)
    return compositor.render(plan), tmp_path / "out"


def test_pixels(composed):
    greys = [[GREYS[letter] for letter in line] for line in PICTURE.split()]
    expected = np.repeat(np.array(greys, np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(composed[0].image, expected)
    assert np.array_equal(cv2.imread(str(composed[1] / "images" / "000000.png")), expected)


def test_sample(composed):
    sample = composed[0].sample
    assert (sample.index, sample.height, sample.width, sample.background_id) == (0, 16, 16, "0.png")
    assert composed[0].counts == {"placed": 3, "pasted_annotations": 3}
    assert (sample.neg_category_ids, sample.not_exhaustive_category_ids) == (None, (BANANA, FROG, LION))
    found = [
        (a.source_id, a.category_id, a.bbox, a.area, a.visible_fraction, a.z_order, a.iscrowd, a.origin)
        for a in sample.annotations
    ]
    assert found == [
        ("a", BANANA, (2, 2, 4, 4), 11, 11 / 16, 1, 0, "pool"),
        ("b", FROG, (4, 4, 4, 4), 7, 7 / 16, 2, 0, "pool"),
        ("c", LION, (3, 5, 4, 4), 16, 1.0, 3, 0, "pool"),
    ]


@pytest.mark.parametrize("number", range(3))
def test_masks(composed, number):
    name = "abc"[number]
    segmentation = composed[0].sample.annotations[number].segmentation
    assert segmentation == {"size": [16, 16], "counts": COUNTS[name]}
    assert rle_runs(COUNTS[name]).tolist() == RUNS[name]
    letters = np.array([list(line) for line in PICTURE.split()])
    assert np.array_equal(coco_mask.decode(segmentation).astype(bool), letters == name)


def test_coco_entries(composed):
    content = json.loads((composed[1] / "annotations.json").read_text())
    assert content["images"] == [
        {"id": 1, "file_name": "000000.png", "height": 16, "width": 16, "background_id": "0.png"}
    ]
    standard = ("id", "image_id", "category_id", "bbox", "area", "segmentation", "iscrowd")
    assert [{key: entry[key] for key in standard} for entry in content["annotations"]] == [
        {"id": 1, "image_id": 1, "category_id": 45, "bbox": [2, 2, 4, 4], "area": 11,
         "segmentation": {"size": [16, 16], "counts": "R14<O1O10n4"}, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 475, "bbox": [4, 4, 4, 4], "area": 7,
         "segmentation": {"size": [16, 16], "counts": "T21?00003i3"}, "iscrowd": 0},
        {"id": 3, "image_id": 1, "category_id": 649, "bbox": [3, 5, 4, 4], "area": 16,
         "segmentation": {"size": [16, 16], "counts": "e14<00000[4"}, "iscrowd": 0},
    ]  # fmt: skip
    ours = [{key: entry[key] for key in entry if key not in standard} for entry in content["annotations"]]
    assert ours == [
        {"origin": "pool", "source_id": "a", "visible_fraction": 0.6875, "z_order": 1, "instance_id": "a"},
        {"origin": "pool", "source_id": "b", "visible_fraction": 0.4375, "z_order": 2, "instance_id": "b"},
        {"origin": "pool", "source_id": "c", "visible_fraction": 1.0, "z_order": 3, "instance_id": "c"},
    ]
