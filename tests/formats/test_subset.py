import json

import numpy as np
import pytest
from lvis import LVIS
from pycocotools.coco import COCO

from tests.backgrounds.material import small_dataset, square, write_dataset
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.subset import SplittableFile
from xpaste_ray.formats.validate import validate
from xpaste_ray.storage import locate


def _part(path, rows, name="part.json"):
    """The part's file, beside the whole."""
    part = path.with_name(name)
    part.write_bytes(b"".join(SplittableFile(locate(path)).part(np.array(rows, int))))
    return part


def _lvis(folder):
    images = [
        {"id": 3, "coco_url": "http://images.example/train/1.jpg", "height": 32, "width": 32,
         "neg_category_ids": [2], "not_exhaustive_category_ids": [1]},
        {"id": 5, "coco_url": "http://images.example/train/2.jpg", "height": 32, "width": 32,
         "neg_category_ids": [], "not_exhaustive_category_ids": []},
    ]  # fmt: skip
    annotations = [
        {"id": number, "image_id": image, "category_id": category, "area": 25, "bbox": [3, 3, 5, 5],
         "segmentation": [square(3, 3, 5)]}
        for number, (image, category) in enumerate([(3, 1), (3, 1), (5, 2), (5, 1)], 10)
    ]  # fmt: skip
    categories = [
        {"id": 1, "name": "käse", "synonyms": ["cheese"], "def": "d", "synset": "s", "frequency": "f",
         "image_count": 2, "instance_count": 3},
        {"id": 2, "name": "cup", "synonyms": [], "def": "d", "synset": "s", "frequency": "f",
         "image_count": 1, "instance_count": 1},
    ]  # fmt: skip
    return write_dataset(folder, images, annotations, categories)


def test_counts_are_objects_of_each_image_crowds_left_out(tmp_path):
    file = SplittableFile(locate(small_dataset(tmp_path)))
    assert file.image_ids == [7, 9, 8] and file.category_ids == [1, 18, 44] and file.left_out == {}
    assert file.counts.toarray().tolist() == [[1, 0, 1], [0, 1, 1], [0, 0, 0]]
    assert file.names == ["cat", "dog", "cup"]


def test_part_has_its_images_with_all_that_was_told_of_them(tmp_path):
    whole = json.loads(small_dataset(tmp_path).read_text())
    part = json.loads(_part(tmp_path / "annotations.json", [1]).read_text())
    assert part["images"] == whole["images"][1:2]
    assert part["annotations"] == [one for one in whole["annotations"] if one["image_id"] == 9]
    assert [one["iscrowd"] for one in part["annotations"]] == [0, 1, 0]
    for key in ("info", "licenses", "categories"):
        assert part[key] == whole[key]
    assert list(part) == list(whole)


def test_part_is_read_by_pycocotools_and_is_valid_where_the_images_are(tmp_path):
    part = _part(small_dataset(tmp_path), [0, 1])
    coco = COCO(str(part))
    assert sorted(coco.getImgIds()) == [7, 9] and len(coco.getAnnIds()) == 5
    assert coco.annToMask(coco.loadAnns([1])[0]).sum() > 0
    report = validate(part)
    assert (report.images, report.annotations, report.errors) == (2, 5, 0)


def test_lvis_s_numbers_are_those_of_the_part_and_its_lists_stay(tmp_path):
    part = _part(_lvis(tmp_path), [0])
    lvis = LVIS(str(part))
    (image,) = lvis.load_imgs(lvis.get_img_ids())
    assert (image["neg_category_ids"], image["not_exhaustive_category_ids"]) == ([2], [1])
    cheese, cup = lvis.load_cats([1, 2])
    assert (cheese["image_count"], cheese["instance_count"], cheese["frequency"]) == (1, 2, "r")
    assert (cup["image_count"], cup["instance_count"], cup["frequency"]) == (0, 0, "r")
    assert (cheese["name"], cheese["synonyms"]) == ("käse", ["cheese"])
    assert len(lvis.get_ann_ids()) == 2
    assert not validate(part).errors


def test_whole_as_its_own_part_says_the_same(tmp_path):
    path = small_dataset(tmp_path)
    assert json.loads(_part(path, [0, 1, 2]).read_text()) == json.loads(path.read_text())


def test_annotations_of_nothing_are_counted_and_in_no_part(tmp_path):
    path = small_dataset(tmp_path)
    told = json.loads(path.read_text())
    told["annotations"] += [
        {"id": 90, "image_id": 99, "category_id": 1},
        {"id": 91, "image_id": 7, "category_id": 2},
    ]
    path.write_text(json.dumps(told))
    assert SplittableFile(locate(path)).left_out == {"unknown_image": 1, "unknown_category": 1}
    part = json.loads(_part(path, [0]).read_text())
    assert [one["id"] for one in part["annotations"]] == [1, 4]


IMAGES, CATEGORIES = [{"id": 1}], [{"id": 1, "name": "cat"}]
ANNOTATIONS = [{"id": 1, "image_id": 1, "category_id": 1}]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "not readable"),
        ({"images": IMAGES, "categories": CATEGORIES}, "it has no annotations"),
        ({"images": IMAGES, "categories": CATEGORIES, "annotations": []}, "it has no annotations"),
        ({"images": IMAGES, "categories": CATEGORIES, "annotations": [{"id": 1, "image_id": 1}]},
         "an entry lacks 'category_id'"),
        ({"images": [{"id": 1.5}], "categories": CATEGORIES, "annotations": ANNOTATIONS}, "whole number"),
        ({"images": [7], "categories": CATEGORIES, "annotations": ANNOTATIONS}, "no object"),
        ({"images": IMAGES * 2, "categories": CATEGORIES, "annotations": ANNOTATIONS}, "image id 1 is there"),
        ({"images": IMAGES, "categories": CATEGORIES * 2, "annotations": ANNOTATIONS}, "category id 1 is"),
    ],
)  # fmt: skip
def test_what_is_no_annotation_file_is_refused(tmp_path, value, told):
    path = tmp_path / "file.json"
    path.write_text(json.dumps(value))
    with pytest.raises(ConfigError, match=told):
        SplittableFile(locate(path))
