"""COCO's and LVIS's rules, on scenes of a few rectangles."""

import json
from dataclasses import astuple, replace

import numpy as np
import pytest
from lvis import LVIS, LVISEval
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.evaluation.material import CAT, DOG, as_predicted, image, said, thing, truth
from xpaste_ray.categories import Category, category_to_coco
from xpaste_ray.evaluation import Evaluation, Prediction, evaluate, sorted_predictions
from xpaste_ray.evaluation.average_precision import COCO_MAX_DETECTIONS, LVIS_MAX_DETECTIONS
from xpaste_ray.masks import encode_rle

SMALL, MEDIUM, LARGE = (10, 10, 20, 20), (50, 10, 60, 60), (60, 80, 110, 110)  # 400, 3600, 12100 px


def of_all_sizes(lvis=False):
    """Two images; a small cat, a medium and a large dog, and a crowd of cats."""
    return truth(
        image(7, thing(CAT, *SMALL), thing(DOG, *MEDIUM)),
        image(4, thing(DOG, *LARGE), thing(CAT, 0, 150, 50, 50, crowd=True)),
        image(5),
        lvis=lvis,
    )


@pytest.mark.parametrize("lvis", [False, True])
def test_truth_as_predictions_is_perfect_in_every_bucket_that_exists(lvis):
    here = of_all_sizes(lvis)
    found = evaluate(here, as_predicted(here))
    for scores in (found.segm, found.bbox):
        told = [scores.ap, scores.ap50, scores.ap75, scores.small, scores.medium, scores.large]
        assert told == pytest.approx([1.0] * 6)
        assert (scores.rare, scores.common, scores.frequent) == (pytest.approx(1), None, pytest.approx(1))


def test_nothing_predicted_is_zero_and_not_none():
    found = evaluate(of_all_sizes(), [])
    assert (found.segm.ap, found.segm.small, found.bbox.rare, found.segm.common) == (0, 0, 0, None)


def test_buckets_without_objects_are_none():
    here = truth(image(1, thing(CAT, *SMALL)), categories=(Category(1, "cat"), Category(2, "dog")))
    found = evaluate(here, [said(1, CAT, 0.5, *SMALL)])
    assert (found.segm.medium, found.segm.large, found.segm.rare, found.segm.frequent) == (None,) * 4
    cat, dog = found.categories
    assert (cat.ap_segm, cat.images, cat.instances) == (pytest.approx(1), 1, 1)
    assert (dog.ap_segm, dog.ap_bbox, dog.images, dog.instances) == (None, None, 0, 0)


def test_iou_of_two_thirds_counts_at_four_of_ten_thresholds():
    """60 x 40 of 60 x 60 px: right at 0.50, 0.55, 0.60 and 0.65."""
    here = truth(image(1, thing(DOG, 50, 10, 60, 60)))
    found = evaluate(here, [said(1, DOG, 0.9, 50, 10, 60, 40)])
    assert (found.segm.ap, found.segm.ap50, found.segm.ap75) == pytest.approx((0.4, 1, 0))


def test_mean_is_over_categories_and_not_over_objects():
    """Of cats all three, of dogs none."""
    cats = [thing(CAT, 30 * number, 10, 20, 20) for number in range(3)]
    here = truth(image(1, *cats, thing(DOG, *LARGE)))
    found = evaluate(here, [said(1, CAT, 0.9, 30 * number, 10, 20, 20) for number in range(3)])
    assert (found.segm.ap, found.segm.rare, found.segm.frequent) == pytest.approx((0.5, 1, 0))
    assert [(one.name, one.frequency, one.instances, one.ap_segm) for one in found.categories] == [
        ("cat", "r", 3, pytest.approx(1)), ("dog", "f", 1, 0),
    ]  # fmt: skip


def test_what_lies_in_a_crowd_is_no_mistake():
    here = of_all_sizes()
    inside = said(4, CAT, 0.999, 5, 155, 20, 20)
    outside = said(4, CAT, 0.999, 150, 5, 20, 20)
    assert evaluate(here, [inside, *as_predicted(here)]).segm.ap == pytest.approx(1)
    assert evaluate(here, [outside, *as_predicted(here)]).segm.ap < 0.9


def test_small_mask_in_a_large_box_is_small():
    """A diagonal of 110 px: as pycocotools would take it, its box made it large."""
    mask = np.eye(200, dtype=bool)
    mask[110:] = False
    here = truth(image(1, thing(DOG, *SMALL)))
    line = Prediction(1, DOG.id, (0, 0, 110, 110), 0.99, (200, 200), encode_rle(mask)["counts"])
    found = evaluate(here, [line, *as_predicted(here)])
    assert found.segm.small == pytest.approx(0.5)  # a false one of that size before the right one
    assert found.bbox.small == pytest.approx(1)


# What is not LVIS's is judged whole; LVIS's images only tell of some categories.


def test_detection_of_what_nobody_looked_for_is_ignored_in_lvis():
    elsewhere = image(2, thing(DOG, *MEDIUM))
    first = image(1, thing(CAT, *SMALL))
    wrong = said(1, DOG, 0.999, *LARGE)
    for lvis, dogs in ((False, 0.5), (True, 1)):
        here = truth(first, elsewhere, lvis=lvis)
        assert evaluate(here, [wrong, *as_predicted(here)]).categories[1].ap_segm == pytest.approx(dogs)


def test_detection_of_what_is_verified_to_be_absent_is_wrong_in_lvis():
    here = truth(image(1, negative=[DOG]), image(2, thing(DOG, *MEDIUM)), lvis=True)
    wrong = said(1, DOG, 0.999, *LARGE)
    assert evaluate(here, [wrong, *as_predicted(here)]).categories[1].ap_segm == pytest.approx(0.5)


def test_unmatched_detection_is_ignored_where_not_all_are_annotated():
    for not_exhaustive, ap in (([], 0.5), ([DOG], 1)):
        here = truth(image(1, thing(DOG, *MEDIUM), not_exhaustive=not_exhaustive), lvis=True)
        extra = said(1, DOG, 0.999, *LARGE)
        assert evaluate(here, [extra, *as_predicted(here)]).categories[1].ap_segm == pytest.approx(ap)


def many(count, category, first=0.5):
    """Wrong ones, each surer than what has a score of `first` or less."""
    return [said(1, category, first + (number + 1) / 10_000, 0, 0, 5, 5) for number in range(count)]


def test_lvis_counts_300_of_an_image_of_all_categories_together():
    """The right dog is the 300th, or the 301st; cats are known not to be there."""
    here = truth(image(1, thing(DOG, *MEDIUM), negative=[CAT]), lvis=True)
    right = said(1, DOG, 0.5, *MEDIUM)
    for others, ap in ((LVIS_MAX_DETECTIONS - 1, 1), (LVIS_MAX_DETECTIONS, 0)):
        assert evaluate(here, [right, *many(others, CAT)]).categories[1].ap_segm == pytest.approx(ap)


def test_coco_counts_100_of_a_category_in_an_image():
    here = truth(image(1, thing(DOG, *MEDIUM)))
    right = said(1, DOG, 0.5, *MEDIUM)
    hundredth = evaluate(here, [right, *many(COCO_MAX_DETECTIONS - 1, DOG)]).segm.ap
    assert hundredth == pytest.approx(0.01)  # one right of a hundred
    assert evaluate(here, [right, *many(COCO_MAX_DETECTIONS, DOG)]).segm.ap == 0
    assert evaluate(here, [right, *many(COCO_MAX_DETECTIONS, CAT)]).segm.ap == pytest.approx(1)


def scattered(seed):
    """Ten images with rectangles of all sizes, some of them crowds; predictions near them, and others."""
    rng = np.random.default_rng(seed)
    images, found = [], []
    for number in range(1, 11):
        objects = []
        for _ in range(rng.integers(0, 7)):
            left, top = rng.integers(0, 150, 2).tolist()
            width, height = (rng.integers(8, 50, 2) * rng.integers(1, 4)).tolist()
            width, height = min(width, 200 - left), min(height, 200 - top)
            category = (CAT, DOG)[rng.integers(2)]
            objects.append(thing(category, left, top, width, height, crowd=bool(rng.random() < 0.1)))
            for _ in range(rng.integers(0, 3)):
                moved = min(left + int(rng.integers(0, 6)), 190), top, max(width - 6, 4), height
                found.append(said(number, category, round(float(rng.random()), 2), *moved))
        found.append(said(number, DOG, round(float(rng.random()), 2), 5, 5, 40, 40))
        images.append(image(number, *objects))
    return truth(*images), found


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_pycocotools(seed, tmp_path):
    here, found = scattered(seed)
    assert 0 < evaluate(here, found).segm.ap < 1
    for kind in ("segm", "bbox"):
        ours = getattr(evaluate(here, found), kind)
        told = [ours.ap, ours.ap50, ours.ap75, ours.small, ours.medium, ours.large]
        six = [-1 if score is None else score for score in told]
        assert six == pytest.approx(pycocotools_scores(here, found, kind, tmp_path), abs=1e-12)


def pycocotools_scores(here, found, kind, folder):
    """Its first six."""
    results, file = written(here, found, kind, folder)
    coco = COCO(str(file))
    counting = COCOeval(coco, coco.loadRes(results), kind)
    counting.evaluate()
    counting.accumulate()
    counting.summarize()
    return counting.stats[:6].tolist()


def written(here, found, kind, folder):
    """Results, and the truth as a file. Given boxes, both libraries sort masks by their boxes' areas."""
    annotations = [
        {"id": number, "image_id": each.id, "category_id": one.category_id, "iscrowd": int(one.is_crowd),
         "area": one.area, "bbox": list(one.bbox_xywh), "segmentation": one.rle}
        for number, (each, one) in enumerate(((e, o) for e in here.images for o in e.objects), 1)
    ]  # fmt: skip
    images = [
        {"id": each.id, "height": 200, "width": 200, "neg_category_ids": sorted(each.neg_category_ids),
         "not_exhaustive_category_ids": sorted(each.not_exhaustive_category_ids)}
        for each in here.images
    ]  # fmt: skip
    categories = [category_to_coco(one) for one in here.categories]
    file = folder / "truth.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    results = [
        {"image_id": one.image_id, "category_id": one.category_id, "score": one.score,
         **({"bbox": list(one.bbox_xywh)} if kind == "bbox" else {"segmentation": one.rle})}
        for one in sorted_predictions(found)
    ]  # fmt: skip
    return results, file


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_lvis_api(seed, tmp_path, monkeypatch):
    """A third of the images tells nothing of dogs that are not there, a third not of all that are."""
    monkeypatch.setattr(np, "float", float, raising=False)  # lvis-api is older than NumPy 2
    plain, found = scattered(seed)
    images = [
        replace(
            each,
            objects=tuple(one for one in each.objects if not one.is_crowd),
            neg_category_ids=frozenset([DOG.id] if each.id % 3 else []),
            not_exhaustive_category_ids=frozenset([DOG.id] if each.id % 3 == 2 else []),
        )
        for each in plain.images
    ]
    here = truth(*images, lvis=True)
    for kind in ("segm", "bbox"):
        ours = getattr(evaluate(here, found), kind)
        told = [-1 if score is None else score for score in astuple(ours)]
        assert 0 < ours.ap < 1 and told == pytest.approx(lvis_scores(here, found, kind, tmp_path), abs=1e-12)


def lvis_scores(here, found, kind, folder):
    results, file = written(here, found, kind, folder)
    counting = LVISEval(LVIS(str(file)), results, kind)
    counting.run()
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf")
    return [counting.get_results()[name] for name in names]


def test_order_of_arrival_changes_nothing():
    here, found = scattered(9)
    assert evaluate(here, found) == evaluate(here, found[::-1])


def test_evaluation_comes_back_from_json():
    found = evaluate(*scattered(1))
    assert Evaluation.from_json(json.loads(json.dumps(found.to_json()))) == found
