"""What may be said of the categories of a composed image, by what was known of its background."""

import json

import numpy as np
import pytest

from tests.backgrounds.material import square, write_dataset
from tests.compose.options import options
from tests.conftest import CATEGORIES
from xpaste_ray.backgrounds import MixedBackgrounds, open_or_index, resolve_source
from xpaste_ray.categories import category_to_coco
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.federated import federated_lists
from xpaste_ray.compose.shards import compose_shard, dataset_spec
from xpaste_ray.formats.dataset import finish
from xpaste_ray.formats.validate import validate
from xpaste_ray.samples import Annotation

BANANA, FROG, LION = (category.id for category in CATEGORIES)


class LvisImage:
    """Shows 1 and 2 (2 not exhaustively), is known not to show 5; nothing is known of 9."""

    is_lvis = True
    category_ids = frozenset([1, 2, 5, 6, 9])
    rejected = ()

    def is_labelled(self, row):
        return True

    def neg_category_ids(self, row):
        return (5, 6)

    def not_exhaustive_category_ids(self, row):
        return (2,)

    def present_category_ids(self, row):
        return np.array([1, 2])

    def rejected_category_ids(self, row):
        return self.rejected


class CocoImage:
    """Of a dataset that annotates 1 and 2 in every image."""

    is_lvis = False
    category_ids = frozenset([1, 2])
    rejected = ()

    def is_labelled(self, row):
        return True

    def neg_category_ids(self, row):
        return None

    not_exhaustive_category_ids = neg_category_ids

    def rejected_category_ids(self, row):
        return self.rejected


def _annotations(*category_ids):
    return [
        Annotation(
            category_id=category, segmentation={}, bbox=(0, 0, 1, 1), area=1, iscrowd=0, origin="pool",
            source_id="a", visible_fraction=1.0, z_order=1,
        )
        for category in category_ids
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "remnants", "neg", "not_exhaustive"),
    [
        pytest.param((1, 2), set(), (5, 6), (2,), id="nothing-pasted"),
        pytest.param((1, 2, 5), set(), (6,), (2,), id="absent-is-present-now-and-exhaustive"),
        pytest.param((1, 2, 9), set(), (5, 6), (2, 9), id="unknown-may-show-others"),
        pytest.param((1, 2, 1), set(), (5, 6), (2,), id="exhaustive-stays-exhaustive"),
        pytest.param((1, 2), {5}, (6,), (2, 5), id="remnant-of-an-absent-one"),
        pytest.param((2,), {1}, (5, 6), (1, 2), id="remnant-of-its-own"),
    ],
)
def test_lists_after_pasting(shown, remnants, neg, not_exhaustive):
    assert federated_lists(LvisImage(), 0, _annotations(*shown), remnants) == (neg, not_exhaustive)


@pytest.mark.parametrize(("rejected", "lists"), [((1,), ((5, 6), (1, 2))), ((5,), ((6,), (2, 5)))])
def test_what_could_not_be_used_is_there_unannotated(rejected, lists):
    """Of LVIS: an object of category 1 without a mask; and one of 5, which is said to be absent."""
    image = LvisImage()
    image.rejected = rejected
    assert federated_lists(image, 0, _annotations(1, 2), set()) == lists


@pytest.mark.parametrize(
    ("shown", "remnants", "rejected", "not_exhaustive"),
    [
        pytest.param((1, 2), set(), (), (), id="own-vocabulary"),
        pytest.param((1, 7), set(), (), (7,), id="a-photo-may-show-more-of-another-one"),
        pytest.param((1,), {2}, (), (2,), id="remnant"),
        pytest.param((1,), set(), (1,), (1,), id="rejected-annotation"),
    ],
)
def test_coco_is_exhaustive_for_its_own_vocabulary(shown, remnants, rejected, not_exhaustive):
    image = CocoImage()
    image.rejected = rejected
    assert federated_lists(image, 0, _annotations(*shown), remnants) == (None, not_exhaustive)


def test_photographs_without_annotations_may_show_anything(backgrounds):
    assert federated_lists(backgrounds, 0, _annotations(5, 7), {6}) == (None, (5, 6, 7))


def test_constant_colours_show_nothing(tmp_path):
    black = open_or_index(resolve_source("black:32x32"), tmp_path)
    assert federated_lists(black, 0, _annotations(5, 7), set()) == (None, ())
    assert federated_lists(black, 0, _annotations(5, 7), {6}) == (None, (6,))


def _composed(folder, pool, backgrounds, *changes):
    """What the LVIS writer makes of four samples with lions."""
    usual = ("canvas.fit=keep", "count=4", "samples_per_shard=4", "output.formats=[lvis]")
    settings = options(*usual, *changes)
    spec = dataset_spec(settings, pool, backgrounds, "recipe", {})
    compose_shard(folder, spec.shards[0], Compositor(pool, backgrounds, settings, seed=0), spec, None)
    finish(folder, spec)
    assert not validate(folder).findings
    return json.loads((folder / "annotations.json").read_text())["images"]


def test_lvis_file_on_photographs_does_not_punish_what_they_may_show(tmp_path, make_pool, backgrounds):
    for image in _composed(tmp_path / "out", make_pool({"lion": 2}), backgrounds):
        assert (image["neg_category_ids"], image["not_exhaustive_category_ids"]) == ([], [LION])


def test_lvis_file_on_contexts_says_nothing_of_what_the_originals_know(tmp_path, make_pool, backgrounds):
    """An original without lions and with some frogs unannotated; of a context nothing is known."""
    image = {"id": 5, "coco_url": "http://images/val2017/a.jpg", "height": 64, "width": 64,
             "neg_category_ids": [LION], "not_exhaustive_category_ids": [FROG]}  # fmt: skip
    frog = {"id": 9, "image_id": 5, "category_id": FROG, "bbox": [2, 2, 20, 20], "area": 400,
            "segmentation": [square(2, 2, 20)]}  # fmt: skip
    categories = [{**category_to_coco(one), "image_count": 20, "instance_count": 30} for one in CATEGORIES]
    path = write_dataset(tmp_path / "lvis", [image], [frog], categories)
    (tmp_path / "lvis" / "images" / "val2017").rename(tmp_path / "lvis" / "val2017")
    original = open_or_index(resolve_source(path, tmp_path / "lvis"), tmp_path / "cache")
    mixed = MixedBackgrounds(original, backgrounds)
    assert mixed.is_lvis
    told = _composed(tmp_path / "out", make_pool({"lion": 2}), mixed, "background_draw=in-turn", "mix=[1, 1]")
    lists = [(image["neg_category_ids"], image["not_exhaustive_category_ids"]) for image in told]
    assert lists == [([], [FROG]), ([], [LION])] * 2  # all lions of the original are known: the pasted ones


def test_lvis_file_on_coco_knows_of_objects_without_a_mask(tmp_path, make_pool):
    """A banana that is only a box, in a dataset that annotates bananas and frogs."""
    image = {"id": 5, "file_name": "a.jpg", "height": 64, "width": 64}
    entry = {"id": 1, "image_id": 5, "category_id": BANANA, "bbox": [2, 2, 9, 9], "area": 81}
    categories = [category_to_coco(category) for category in CATEGORIES[:2]]
    frog = {**entry, "id": 2, "category_id": FROG, "segmentation": [square(40, 40, 9)]}
    path = write_dataset(tmp_path / "coco", [image], [entry, frog], categories)
    found = open_or_index(resolve_source(path), tmp_path / "cache")
    assert found.rejected_category_ids(0) == (BANANA,)
    for image in _composed(tmp_path / "out", make_pool({"lion": 2}), found):
        assert image["not_exhaustive_category_ids"] == [BANANA, LION]
