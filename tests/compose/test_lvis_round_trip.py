"""From an LVIS dataset to a composed one: federated evaluation stays right."""

import json

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from lvis import LVIS

from tests.backgrounds.material import square, write_dataset
from tests.compose.options import options
from tests.conftest import CATEGORIES
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.categories import category_to_coco
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.shards import compose_shard, dataset_spec
from xpaste_ray.formats.dataset import finish
from xpaste_ray.masks import encode_rle

BANANA, FROG, LION = (category.id for category in CATEGORIES)


@pytest.fixture
def composed(tmp_path, make_pool):
    """Lions on an image that shows bananas (not all annotated) and no frog; of lions nothing is known."""
    image = {"id": 5, "coco_url": "http://images/val2017/a.jpg", "height": 64, "width": 64,
             "neg_category_ids": [FROG], "not_exhaustive_category_ids": [BANANA]}  # fmt: skip
    banana = {"id": 9, "image_id": 5, "category_id": BANANA, "bbox": [2, 2, 20, 20], "area": 400,
              "segmentation": [square(2, 2, 20)]}  # fmt: skip
    categories = [
        {**category_to_coco(category), "image_count": 20, "instance_count": 30} for category in CATEGORIES
    ]
    path = write_dataset(tmp_path / "lvis", [image], [banana], categories)
    (tmp_path / "lvis" / "images" / "val2017").rename(tmp_path / "lvis" / "val2017")
    backgrounds = open_or_index(resolve_source(path, tmp_path / "lvis"), tmp_path / "cache")
    settings = options("canvas.fit=keep", "count=6", "samples_per_shard=6", "output.formats=[lvis]")
    compositor = Compositor(make_pool({"lion": 2}), backgrounds, settings, seed=0)
    spec = dataset_spec(settings, make_pool({"lion": 2}, "again"), backgrounds, "recipe", {})
    compose_shard(tmp_path / "out", spec.shards[0], compositor, spec, None)
    finish(tmp_path / "out", spec)
    return tmp_path / "out" / "annotations.json"


def test_lists_of_categories_follow_what_was_pasted(composed):
    dataset = LVIS(str(composed))
    assert len(dataset.imgs) == 6 and {a["category_id"] for a in dataset.anns.values()} == {BANANA, LION}
    for image in dataset.imgs.values():
        assert image["neg_category_ids"] == [FROG]
        assert image["not_exhaustive_category_ids"] == [BANANA, LION]


def test_lvis_style_evaluation_punishes_only_what_is_known(composed):
    """All objects found, and one more of each category in every image, with the highest score.

    Frogs are known to be absent: they are false, and a category without objects has no AP. Bananas and
    lions may be there unannotated: their extra detections are ignored, so their AP is 1.
    """
    truth = COCO(json.loads(composed.read_text()))
    annotations = truth.dataset["annotations"]
    found = [{"image_id": a["image_id"], "category_id": a["category_id"], "score": 0.9,
              "segmentation": a["segmentation"]} for a in annotations]  # fmt: skip
    extra = [
        {"image_id": image, "category_id": category, "score": 0.99, "segmentation": _bottom_row()}
        for image in truth.imgs
        for category in (BANANA, FROG, LION)
    ]
    evaluation = COCOeval_faster(truth, truth.loadRes(found + extra), "segm", lvis_style=True)
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    by_category = dict(zip(evaluation.params.catIds, precision.transpose(2, 0, 1), strict=True))
    assert (by_category[BANANA] == 1).all() and (by_category[LION] == 1).all()
    assert (by_category[FROG] == -1).all()


def _bottom_row():
    mask = np.zeros((64, 64), bool)
    mask[63] = True
    return encode_rle(mask)
