"""What of a dataset is compared with."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.backgrounds.material import encoded, exif, picture, small_dataset, square, write_dataset
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.errors import ConfigError
from xpaste_ray.evaluation import truth_of


def opened(path, tmp_path):
    return open_or_index(resolve_source(path), tmp_path / "cache")


@pytest.fixture
def backgrounds(tmp_path):
    return opened(small_dataset(tmp_path), tmp_path)


def test_images_and_objects_are_those_of_the_file_in_its_order(backgrounds):
    here = truth_of(backgrounds)
    assert [(one.id, one.size_hw, len(one.objects)) for one in here.images] == [
        (7, (48, 64), 2), (9, (40, 60), 3), (8, (64, 48), 0),
    ]  # fmt: skip
    assert [(one.category_id, one.is_crowd) for one in here.by_id[9].objects] == [
        (18, False), (1, True), (44, False),
    ]  # fmt: skip
    assert not here.is_lvis and here.category_ids == {1, 18, 44}


def test_areas_and_boxes_are_those_that_the_file_tells(backgrounds):
    """The mask has 222 px in a tight box; the file says 200, and a larger box."""
    dog = truth_of(backgrounds).by_id[9].objects[0]
    assert (dog.area, dog.bbox_xywh) == (200.0, (0.0, 0.0, 30.0, 30.0))


def test_masks_stand_in_for_what_the_file_does_not_tell(tmp_path):
    path = small_dataset(tmp_path)
    content = json.loads(path.read_text())
    for one in content["annotations"]:
        del one["area"], one["bbox"]
    path.write_text(json.dumps(content))
    cat = truth_of(opened(path, tmp_path)).by_id[7].objects[0]
    assert (cat.area, cat.bbox_xywh) == (400.0, (10.0, 10.0, 20.0, 20.0))


def test_boxes_of_an_image_that_was_turned_are_those_of_its_masks(tmp_path):
    """Annotated as stored, 64 x 48 px, and shown turned by 90 degrees: the box's corner is elsewhere."""
    image = {"id": 1, "file_name": "a.jpg", "height": 48, "width": 64}
    cat = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 20], "area": 390,
           "segmentation": [square(0, 0, 20)]}  # fmt: skip
    path = write_dataset(tmp_path, [image], [cat])
    stored = Image.fromarray(picture(48, 64))
    (tmp_path / "images" / "a.jpg").write_bytes(encoded(stored, "JPEG", exif=exif(6)))
    here = truth_of(opened(path, tmp_path)).images[0]
    assert here.size_hw == (64, 48)
    assert (here.objects[0].area, here.objects[0].bbox_xywh) == (390.0, (28.0, 0.0, 20.0, 20.0))


def test_some_rows_are_a_truth_of_their_own(backgrounds):
    assert [one.id for one in truth_of(backgrounds, [2, 0]).images] == [8, 7]


def test_lists_and_frequencies_of_lvis_are_kept(tmp_path):
    image = {"id": 5, "coco_url": "http://images/val2017/a.jpg", "height": 48, "width": 64,
             "neg_category_ids": [2], "not_exhaustive_category_ids": [1]}  # fmt: skip
    categories = [{"id": 1, "name": "cat", "frequency": "r"}, {"id": 2, "name": "dog", "frequency": "f"}]
    cat = {"id": 1, "image_id": 5, "category_id": 1, "bbox": [0, 0, 20, 20], "area": 400,
           "segmentation": [square(0, 0, 20)]}  # fmt: skip
    path = write_dataset(tmp_path, [image], [cat], categories, images_in="")
    here = truth_of(opened(path, tmp_path))
    assert here.is_lvis and [one.frequency for one in here.categories] == ["r", "f"]
    assert here.images[0].judged_category_ids() == {1, 2}
    assert here.images[0].not_exhaustive_category_ids == {1}


def test_images_without_annotations_are_no_truth(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="--val has no annotations: give a COCO or LVIS file"):
        truth_of(opened(tmp_path, tmp_path))
