"""The study's material: who is on which image, what is seen, and what lies on the disk."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from benchmarks.mini_lvis.found import compare
from benchmarks.mini_lvis.plan import deal, frequency_of, long_tail
from benchmarks.mini_lvis.scenes import ALONE, OTHERS, SHOWN, UNSEEN, crops_of, mini_scene, split_photographs
from benchmarks.mini_lvis.sets import PHOTOGRAPHS, Sizes, plan_parts, write_material
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.config.images import ImagesSettings
from xpaste_ray.embedded import DIFFUSION_CATEGORIES
from xpaste_ray.formats.validate import validate
from xpaste_ray.masks import encode_rle
from xpaste_ray.rng import rng_for
from xpaste_ray.sources.labelled import open_labelled

TINY = Sizes(train=6, val=1, test=1, labelled=1, pretrain=1)
CROPS = crops_of(split_photographs(0, PHOTOGRAPHS)["train"])


# --- who is on which image -----------------------------------------------------------------------


def test_long_tail_falls_from_its_most_to_one():
    counts = sorted(long_tail(DIFFUSION_CATEGORIES, 60, seed=0).values(), reverse=True)
    assert counts[:4] == [60, 50, 42, 36] and counts[-4:] == [1, 1, 1, 1]
    assert sum(counts) == 409
    assert Counter(map(frequency_of, counts)) == {"r": 14, "c": 9, "f": 9}


def test_which_category_is_rare_follows_from_the_seed():
    one, other = (long_tail(DIFFUSION_CATEGORIES, 60, seed) for seed in (0, 1))
    assert set(one) == set(other) == set(DIFFUSION_CATEGORIES)
    assert one == long_tail(DIFFUSION_CATEGORIES, 60, 0) != other
    assert list(one.values()) != sorted(one.values())  # nor from the alphabet


@pytest.mark.parametrize(("images", "told"), [(1, "r"), (4, "r"), (5, "c"), (14, "c"), (15, "f")])
def test_rare_is_up_to_four_images_and_common_up_to_fourteen(images, told):
    assert frequency_of(images) == told


@given(st.lists(st.integers(1, 6), min_size=4, max_size=12), st.integers(0, 10**6))
def test_all_objects_are_dealt_and_no_image_has_a_category_twice(counts, seed):
    wanted = {f"category {i}": count for i, count in enumerate(counts)}
    wanted["the most"] = 8
    images = deal(wanted, 2, rng_for(seed, "test"))
    assert Counter(name for names in images for name in names) == wanted
    assert all(1 <= len(names) == len(set(names)) <= 2 for names in images)


def test_no_photograph_is_in_two_parts():
    parts = split_photographs(0, PHOTOGRAPHS)
    names = [name for several in parts.values() for name in several]
    assert {part: len(several) for part, several in parts.items()} == {"train": 5, "val": 2, "test": 2}
    assert len(set(names)) == 9 and split_photographs(1, PHOTOGRAPHS) != parts
    assert len(crops_of(parts["test"])) == 6  # three of each


def test_labelled_and_pretraining_images_are_of_training_photographs_and_poses():
    parts = {one.name: one for one in plan_parts(0, TINY)}
    for name in ("labelled", "pretrain"):
        assert parts[name].photographs == parts["train"].photographs
    assert parts["labelled"].style == parts["train"].style == SHOWN
    assert parts["val"].style == parts["test"].style == UNSEEN
    assert {name for names in parts["pretrain"].shown for name in names}.isdisjoint(DIFFUSION_CATEGORIES)


def test_balanced_sets_have_as_many_of_each_and_other_images_than_each_other():
    parts = {one.name: one for one in plan_parts(0)}
    for name, count in (("val", 8), ("test", 25), ("labelled", 20)):
        shown = Counter(name for names in parts[name].shown for name in names)
        assert set(shown) == set(DIFFUSION_CATEGORIES) and set(shown.values()) == {count}
    assert 250 < len(parts["test"].shown) < 400


# --- what is seen --------------------------------------------------------------------------------


@pytest.mark.parametrize("style", [SHOWN, UNSEEN], ids=["shown", "unseen"])
def test_masks_of_a_scene_do_not_overlap_and_all_that_is_wanted_is_seen(style):
    wanted = ("frog", "lion", "banana")
    for index in range(8):
        scene = mini_scene(0, "test", index, wanted, CROPS, style)
        masks = np.stack([one.mask for one in scene.objects])
        assert scene.image.shape == (128, 128, 3) and masks.shape[1:] == (128, 128)
        assert masks.sum(axis=0).max() == 1
        assert [one.category for one in scene.objects if one.labelled] == list(wanted)
        assert all(one.category in OTHERS for one in scene.objects if not one.labelled)


def test_an_object_alone_is_as_large_as_its_style_says():
    for index in range(8):
        (ball,) = mini_scene(0, "test", index, ("basketball",), CROPS, ALONE).objects
        side = np.ptp(np.flatnonzero(ball.mask.any(axis=0))) + 1
        assert 0.5 * 96 - 8 < side < 0.95 * 96 + 8  # a ball is as wide as high, but for its tilt


def test_a_scene_follows_its_seed_part_and_index():
    told = ("frog",), CROPS, SHOWN
    image = mini_scene(0, "test", 3, *told).image
    assert np.array_equal(image, mini_scene(0, "test", 3, *told).image)
    assert not np.array_equal(image, mini_scene(0, "val", 3, *told).image)
    assert not np.array_equal(image, mini_scene(1, "test", 3, *told).image)


# --- on the disk ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini-lvis")
    write_material(folder, 0, TINY)
    return folder


def _files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_material_has_the_same_bytes_again(material, tmp_path):
    write_material(tmp_path, 0, TINY)
    assert _files(tmp_path) == _files(material)


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_sets_are_valid_and_read_by_the_package(material, name, tmp_path):
    report = validate(material / name)
    assert not report.counts
    backgrounds = open_or_index(resolve_source(str(material / name)), cache_dir=tmp_path)
    assert len(backgrounds) == report.images
    assert {one.name for one in backgrounds.categories} == set(DIFFUSION_CATEGORIES)


def test_masks_boxes_and_lists_agree(material):
    told = json.loads((material / "train" / "annotations.json").read_text())
    ids = {one["id"] for one in told["categories"]}
    by_image = {one["id"]: [] for one in told["images"]}
    for one in told["annotations"]:
        by_image[one["image_id"]].append(one)
        assert one["area"] == coco_mask.area(one["segmentation"])
        assert one["bbox"] == coco_mask.toBbox(one["segmentation"]).tolist()
    for image in told["images"]:
        own = by_image[image["id"]]
        assert set(image["neg_category_ids"]) == ids - {one["category_id"] for one in own}
        assert image["not_exhaustive_category_ids"] == []
        assert sum(coco_mask.decode(one["segmentation"]) for one in own).max() == 1


def test_frequency_is_that_of_training_in_every_set(material):
    files = {
        name: json.loads((material / name / "annotations.json").read_text()) for name in ("train", "test")
    }
    images = Counter(one["category_id"] for one in files["train"]["annotations"])
    for told in files.values():
        assert all(one["frequency"] == frequency_of(images[one["id"]]) for one in told["categories"])
    assert images[max(images, key=images.get)] == 6 and min(images.values()) == 1


def test_labelled_images_tell_their_categories_and_the_masks_lie_elsewhere(material):
    images = open_labelled(ImagesSettings(path=str(material / "labelled" / "labels.csv"), vocabulary="lvis"))
    truth = json.loads((material / "labelled_truth.json").read_text())
    shown = {one["file_name"].removeprefix("labelled/"): set() for one in truth["images"]}
    names = {one["id"]: one["file_name"].removeprefix("labelled/") for one in truth["images"]}
    for one in truth["annotations"]:
        shown[names[one["image_id"]]].add(one["category_id"])
    assert {uri: set(ids) for uri, ids in zip(images.uris, images.label_ids, strict=True)} == shown
    assert not images.left_out


def test_pretraining_images_show_one_other_object_each(material):
    with (material / "pretrain" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["category"] for row in rows) == sorted(OTHERS)


# --- what was found in labelled images -----------------------------------------------------------


def _told(folder, widths):
    """Image and category -> a mask of so many columns of ten, from the left."""
    categories = [{"id": 1, "name": "frog"}, {"id": 2, "name": "lion"}]
    masks = {key: np.arange(10)[None].repeat(4, axis=0) < width for key, width in widths.items()}
    return {
        "images": [{"id": number, "file_name": f"{folder}/{number}.jpg"} for number in (1, 2)],
        "categories": categories,
        "annotations": [
            {"image_id": image, "category_id": category, "segmentation": encode_rle(mask)}
            for (image, category), mask in masks.items()
        ],
    }


def test_found_masks_are_compared_with_the_true_one_of_their_image_and_category():
    truth = _told("labelled/images", {(1, 1): 8, (1, 2): 4, (2, 1): 10})
    told = compare(_told("images", {(1, 1): 4, (1, 2): 1}), truth)  # IoU 0.5 and 0.25; of image 2, nothing
    assert (told.labels, told.instances) == (3, 2)
    assert (told.above_50, told.mean_iou) == (0.5, pytest.approx(0.375))
    assert told.instances_by_category == {"frog": 1, "lion": 1}
    assert told.above_50_by_category == {"frog": 1.0, "lion": 0.0}
