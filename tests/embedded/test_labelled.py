import csv
import json

import cv2
import numpy as np
import pytest
import yaml

from xpaste_ray.categories import lvis_categories, name_key
from xpaste_ray.embedded import DIFFUSION_CATEGORIES, LABELLED_DIR, PHOTOS_DIR
from xpaste_ray.embedded.labelled import (
    SHIPPED_COUNT,
    SHIPPED_SEED,
    SHIPPED_STYLE,
    LabelledStyle,
    captions_of,
    encode_jpeg,
    labelled_scene,
    write_labelled,
)
from xpaste_ray.embedded.scenes import object_names

ALONE = LabelledStyle(
    companions={"frog": "bucket"}, others=("owl",), two_labels=0, twice=0, with_companion=0, max_others=0
)


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def scenes():
    return [labelled_scene(0, index, SHIPPED_STYLE) for index in range(40)]


def test_a_scene_follows_its_seed_and_index_alone(scenes):
    again = labelled_scene(0, 7, SHIPPED_STYLE)
    assert np.array_equal(again.image, scenes[7].image) and again.labels == scenes[7].labels
    assert all(
        np.array_equal(one.mask, other.mask)
        for one, other in zip(again.objects, scenes[7].objects, strict=True)
    )
    other = labelled_scene(1, 7, SHIPPED_STYLE)
    assert other.image.shape != again.image.shape or not np.array_equal(other.image, again.image)


def test_labels_are_what_is_seen_and_nothing_else(scenes):
    for scene in scenes:
        seen = {one.category for one in scene.objects if one.mask.any()}
        assert set(scene.labels) == seen & set(SHIPPED_STYLE.categories)
        assert all(one.labelled == (one.category in SHIPPED_STYLE.categories) for one in scene.objects)
        assert scene.labels == tuple(sorted(scene.labels))


def test_every_image_shows_the_category_of_its_turn(scenes):
    count = len(SHIPPED_STYLE.categories)
    assert all(SHIPPED_STYLE.categories[index % count] in scene.labels for index, scene in enumerate(scenes))


def test_masks_do_not_overlap_and_lie_in_the_image(scenes):
    for scene in scenes:
        masks = np.stack([one.mask for one in scene.objects])
        assert masks.shape[1:] == scene.image.shape[:2] and masks.dtype == bool
        assert masks.sum(axis=0).max() == 1
        assert all(160 <= side <= 192 for side in scene.image.shape[:2])


def test_labelled_objects_stay_large_enough_to_be_proposed(scenes):
    """1 % of the image is what EM-Paste drops."""
    shares = [one.mask.mean() for scene in scenes for one in scene.objects if one.labelled]
    assert min(shares) > 0.01


def test_companions_are_frequent_but_not_everywhere(scenes):
    with_one = [
        SHIPPED_STYLE.companions[label] in {one.category for one in scene.objects}
        for scene in scenes
        for label in scene.labels
    ]
    assert 0.5 < np.mean(with_one) < 0.95


def test_there_are_pairs_of_labels_and_several_objects_of_one(scenes):
    assert {len(scene.labels) for scene in scenes} == {1, 2}
    most = [max([one.category for one in scene.objects].count(name) for name in scene.labels)
            for scene in scenes]  # fmt: skip
    assert {1, 2} <= set(most)


def test_mask_is_where_the_object_was_painted():
    scene = labelled_scene(3, 0, ALONE)
    (frog,) = scene.objects
    bare = labelled_scene(3, 0, LabelledStyle(**{**_told(ALONE), "companions": {"owl": "bucket"}}))
    changed = np.abs(scene.image.astype(int) - bare.image).max(axis=2) > 12
    either = frog.mask | bare.objects[0].mask
    reach = cv2.dilate(either.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    assert not changed[~reach].any()  # the same background, whatever stands on it
    assert changed[either].mean() > 0.9


def _told(style):
    return {name: getattr(style, name) for name in style.__dataclass_fields__}


def test_an_object_that_is_seen_in_part_shows_the_told_share():
    style = LabelledStyle(companions={"frog": "bucket"}, others=("owl",), with_companion=1, max_others=2)
    for index in range(10):
        scene = labelled_scene(0, index, style)
        assert {"frog"} == set(scene.labels)
        assert all(one.mask.any() for one in scene.objects)


def test_captions_name_every_label_between_them():
    assert captions_of(("frog",)) == ("a photo of a single frog", "a photo of a frog")
    assert captions_of(("umbrella",))[1] == "a photo of an umbrella"
    assert captions_of(("bus_(vehicle)", "bell_pepper")) == (
        "a photo of a single bus", "a photo of a single bell pepper",
    )  # fmt: skip


def test_a_written_set_is_a_list_of_paths_with_labels_and_captions(tmp_path):
    write_labelled(tmp_path, ALONE, count=3, seed=5)
    assert _rows(tmp_path / "labels.csv") == [
        {"path": f"images/000{i}.jpg", "category": "frog"} for i in range(3)
    ]
    assert [row["path"] for row in _rows(tmp_path / "captions.csv")] == [
        f"images/000{i}.jpg" for i in range(3) for _ in range(2)
    ]
    first = (tmp_path / "images" / "0001.jpg").read_bytes()
    write_labelled(tmp_path / "again", ALONE, count=3, seed=5)
    assert (tmp_path / "again" / "images" / "0001.jpg").read_bytes() == first


# --- the shipped set -----------------------------------------------------------------------------


def test_styles_name_shipped_objects_each_in_one_role():
    known = set(object_names())
    labelled, companions = set(SHIPPED_STYLE.companions), set(SHIPPED_STYLE.companions.values())
    others = set(SHIPPED_STYLE.others)
    assert labelled | companions | others <= known
    assert not labelled & companions and not (labelled | companions) & others
    assert labelled <= set(DIFFUSION_CATEGORIES) and len(companions) == len(labelled)


def test_shipped_set_is_complete_and_small():
    labels, captions = _rows(LABELLED_DIR / "labels.csv"), _rows(LABELLED_DIR / "captions.csv")
    files = sorted((LABELLED_DIR / "images").glob("*"))
    assert [row["path"] for row in labels] == [f"images/{path.name}" for path in files]
    assert len(files) == SHIPPED_COUNT and len(captions) == 2 * SHIPPED_COUNT
    assert {name for row in labels for name in row["category"].split(";")} == set(SHIPPED_STYLE.categories)
    assert sum(path.stat().st_size for path in LABELLED_DIR.rglob("*")) <= 4e6


@pytest.mark.parametrize("index", [0, 101, 239])
def test_shipped_images_are_what_the_script_makes(index):
    """To what a processor's rounding may do before the JPEG."""
    scene, row = labelled_scene(SHIPPED_SEED, index, SHIPPED_STYLE), _rows(LABELLED_DIR / "labels.csv")[index]
    made = cv2.imdecode(np.frombuffer(encode_jpeg(scene.image), np.uint8), cv2.IMREAD_COLOR)
    shipped = cv2.imread(str(LABELLED_DIR / row["path"]))
    assert row["category"] == ";".join(scene.labels)
    assert made.shape == shipped.shape and np.abs(made.astype(int) - shipped).mean() < 0.1


def test_distractors_can_be_drawn_and_are_no_labelled_category():
    told = yaml.safe_load((LABELLED_DIR / "distractors.yaml").read_text())
    assert set(told["categories"]) == set(SHIPPED_STYLE.categories)
    assert set(told["categories"].values()) == set(told["words"])
    drawn = {name_key(name.partition("_(")[0]) for name in DIFFUSION_CATEGORIES}
    labelled = {name_key(name.partition("_(")[0]) for name in SHIPPED_STYLE.categories}
    synonyms = {name_key(one) for category in lvis_categories() for one in category.synonyms
                if category.name in SHIPPED_STYLE.categories}  # fmt: skip
    words = {word for several in told["words"].values() for word in several}
    assert words <= drawn and not words & (labelled | synonyms)


def test_notice_names_all_authors_of_the_photographs():
    notice = (LABELLED_DIR / "NOTICE").read_text()
    credits = json.loads((PHOTOS_DIR / "credits.json").read_text())
    assert all(row["author"] in notice and row["license"] in notice for row in credits)
    assert "Microsoft" in notice and "MIT" in notice
