"""COCO's results format, read and written."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from pycocotools import mask as coco_mask

from tests.evaluation.material import CAT, DOG, image, rle, said, thing, truth
from xpaste_ray.errors import ConfigError
from xpaste_ray.evaluation import (
    Detections,
    predictions_json,
    predictions_of,
    read_predictions,
    write_predictions,
)

HERE = truth(image(7, thing(CAT, 10, 10, 20, 20)), image(3))
GOOD = {"image_id": 7, "category_id": 1, "bbox": [10, 10, 20, 20], "score": 0.5,
        "segmentation": rle(10, 10, 20, 20)}  # fmt: skip


def read(tmp_path, entries):
    file = tmp_path / "results.json"
    file.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return read_predictions(file, HERE)


def test_predictions_come_back_sorted_whatever_their_order(tmp_path):
    found = [said(7, DOG, 0.25, 0, 0, 5, 5), said(7, CAT, 0.75, 1, 2, 3, 4), said(3, CAT, 0.1, 0, 0, 9, 9)]
    write_predictions(tmp_path / "results.json", found)
    assert read_predictions(tmp_path / "results.json", HERE) == [found[2], found[1], found[0]]
    assert predictions_json(found) == predictions_json(found[::-1])


def test_file_is_what_pycocotools_reads(tmp_path):
    entry = json.loads(predictions_json([said(7, CAT, 0.5, 10, 10, 20, 30)]))[0]
    assert (entry["image_id"], entry["category_id"], entry["score"]) == (7, 1, 0.5)
    assert entry["bbox"] == [10, 10, 20, 30] and coco_mask.area(entry["segmentation"]) == 600


def test_no_predictions_are_an_empty_list(tmp_path):
    assert read(tmp_path, "[ ]\n") == [] and predictions_json([]) == b"[]\n"


def test_missing_box_is_that_of_the_mask(tmp_path):
    (found,) = read(tmp_path, [{key: value for key, value in GOOD.items() if key != "bbox"}])
    assert found.bbox_xywh == (10.0, 10.0, 20.0, 20.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"image_id": 8}, "entry 1.*image_id 8 is not among the 2 usable images", id="image"),
        pytest.param({"image_id": "7"}, "image_id must be a whole number, got '7'", id="image-of-text"),
        pytest.param({"category_id": 9}, "entry 1.*category_id 9 is none of --val's", id="category"),
        pytest.param({"score": float("nan")}, "score nan is no finite number", id="nan"),
        pytest.param({"score": None}, "score None is no finite number", id="no-score"),
        pytest.param({"bbox": [1, 2, 3]}, r"bbox must be \[x, y, width, height\]", id="box"),
        pytest.param({"segmentation": [[0, 0, 9, 0, 9, 9]]}, "compressed RLE", id="polygon"),
        pytest.param(
            {"segmentation": rle(0, 0, 5, 5, (200, 100))}, r"size \[200, 100\].*\[200, 200\]", id="size"
        ),
        pytest.param(
            {"segmentation": {"size": [200, 200], "counts": "0"}}, "RLE is damaged", id="too-few-pixels"
        ),
        pytest.param(
            {"segmentation": {"size": [200, 200], "counts": "\u00e9"}}, "RLE is damaged", id="no-ascii"
        ),
    ],
)
def test_entry_that_cannot_be_used_is_named(tmp_path, change, message):
    with pytest.raises(ConfigError, match=f"--predictions .*results.json: .*{message}"):
        read(tmp_path, [GOOD, {**GOOD, **change}])


@pytest.mark.parametrize("text", ["", "{}", "[1", "[{},]", "[] []", '["a" "b"]'])
def test_file_that_is_no_list_is_explained(tmp_path, text):
    with pytest.raises(ConfigError, match=r"--predictions .*results\.json"):
        read(tmp_path, text)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="--predictions .*none.json is not there"):
        read_predictions(tmp_path / "none.json", HERE)


@given(some.integers(0, 2**32 - 1), some.integers(1, 12), some.integers(1, 12), some.integers(0, 3))
def test_detections_keep_their_masks_boxes_and_scores(seed, height, width, count):
    rng = np.random.default_rng(seed)
    boxes = np.sort(rng.random((count, 2, 2)).astype(np.float32) * 9, axis=1).reshape(count, 4)
    masks = rng.random((count, height, width)) < 0.5
    scores = np.sort(rng.random(count).astype(np.float32))[::-1]
    found = predictions_of(5, Detections(boxes, rng.integers(1, 9, count), scores, masks))
    assert len(found) == count
    for one, mask, box, score in zip(found, masks, boxes, scores, strict=True):
        assert (coco_mask.decode(one.rle).astype(bool) == mask).all()
        assert one.bbox_xywh == pytest.approx([box[0], box[1], box[2] - box[0], box[3] - box[1]])
        assert (one.image_id, one.score) == (5, float(score))


def test_detections_of_different_numbers_are_refused():
    with pytest.raises(ValueError, match="1 scores"):
        Detections(np.zeros((1, 4)), np.zeros(1, int), np.zeros(1), np.zeros((2, 5, 5), bool))
