"""COCO's average precision, and LVIS's by its federated rules, counted by faster-coco-eval.

COCO (pycocotools): ten IoU thresholds, 101 recalls, small below 32 x 32 px and large above 96 x 96. Crowds
are no objects, and what lies in them is no mistake. At most 100 predictions of a category in an image.

LVIS (arXiv:1908.03195, lvis-api): at most 300 predictions in an image, of all categories together; of these,
those of a category are left out where nobody knows whether the image shows it, and where not every object of
it is annotated, what matches none is no mistake.

As Detectron2 does, masks are sorted into small, medium and large by their pixels and boxes by their own area;
pycocotools, given both, takes the box's for both.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from typing import Any, Literal

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools import mask as coco_mask

from xpaste_ray.categories import Category
from xpaste_ray.evaluation.predictions import Prediction, sorted_predictions
from xpaste_ray.evaluation.truth import Truth, TruthImage, TruthObject

COCO_MAX_DETECTIONS = 100  # of a category in an image
LVIS_MAX_DETECTIONS = 300  # in an image

_Kind = Literal["segm", "bbox"]
_AREAS = ("all", "small", "medium", "large")  # in the order of faster-coco-eval's
_THRESHOLD_50, _THRESHOLD_75 = 0, 5  # of 0.50, 0.55, ... 0.95


@dataclass(frozen=True, slots=True)
class Scores:
    """Average precision, in [0, 1]: means over categories. None where the truth has no object of that kind.

    ap: over IoU 0.50 to 0.95. small, medium, large: of objects of that size. rare, common, frequent: of
    categories of LVIS's frequency r, c, f.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    small: float | None
    medium: float | None
    large: float | None
    rare: float | None
    common: float | None
    frequent: float | None


@dataclass(frozen=True, slots=True)
class CategoryScores:
    """A category: how many objects of it the truth has, in how many images, and its AP; None if none.

    frequency: LVIS's r, c or f, or None.
    """

    id: int
    name: str
    frequency: str | None
    images: int
    instances: int
    ap_segm: float | None
    ap_bbox: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of masks and of boxes, and of each category by id."""

    segm: Scores
    bbox: Scores
    categories: tuple[CategoryScores, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "segm": asdict(self.segm),
            "bbox": asdict(self.bbox),
            "categories": [asdict(one) for one in self.categories],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Evaluation":
        """The inverse of `to_json`. KeyError or TypeError if it is none."""
        return cls(
            Scores(**value["segm"]),
            Scores(**value["bbox"]),
            tuple(CategoryScores(**one) for one in value["categories"]),
        )


@dataclass(frozen=True, slots=True)
class _OfCategory:
    """AP of one category: over all thresholds for each of `_AREAS`, and at two of them."""

    areas: tuple[float | None, ...]
    ap50: float | None
    ap75: float | None


def evaluate(truth: Truth, predictions: Sequence[Prediction]) -> Evaluation:
    """Compare predictions with the truth. They must be of its images and categories.

    Categories are compared one by one, each with only the images that it concerns: all pairs of LVIS's images
    and categories would take gigabytes.
    """
    objects = _objects_by_category(truth)
    predicted = defaultdict[int, list[Prediction]](list)
    for one in _judged(truth, sorted_predictions(predictions)):
        predicted[one.category_id].append(one)
    kinds: tuple[_Kind, ...] = ("segm", "bbox")
    found = {
        kind: {
            category_id: _compare(truth, category_id, showing, predicted[category_id], kind)
            for category_id, showing in sorted(objects.items())
        }
        for kind in kinds
    }
    return Evaluation(
        _means(truth.categories, found["segm"]),
        _means(truth.categories, found["bbox"]),
        tuple(
            _of_category(category, objects.get(category.id, []), found)
            for category in sorted(truth.categories, key=lambda one: one.id)
        ),
    )


def _objects_by_category(truth: Truth) -> dict[int, list[TruthImage]]:
    """The images that show a category, crowds of it included, in order."""
    found: dict[int, list[TruthImage]] = {}
    for image in truth.images:
        for category_id in {one.category_id for one in image.objects}:
            found.setdefault(category_id, []).append(image)
    return found


def _judged(truth: Truth, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
    """Those that count. predictions: by image, the surest first."""
    if not truth.is_lvis:
        yield from predictions
        return
    for image_id, found in groupby(predictions, key=lambda one: one.image_id):
        judged = truth.by_id[image_id].judged_category_ids()
        yield from (one for one in islice(found, LVIS_MAX_DETECTIONS) if one.category_id in judged)


def _compare(
    truth: Truth,
    category_id: int,
    showing: Sequence[TruthImage],
    predicted: Sequence[Prediction],
    kind: _Kind,
) -> _OfCategory:
    """showing: the images with objects of the category; predicted: all that count of it."""
    concerned = {image.id: image for image in showing}
    concerned |= {one.image_id: truth.by_id[one.image_id] for one in predicted}
    images = [_image_entry(image) for image in concerned.values()]
    categories = [{"id": category_id, "frequency": "f"}]  # the library asks for one; means are ours
    objects = [
        {"id": number, "image_id": image.id, "category_id": category_id, "iscrowd": int(one.is_crowd),
         "area": one.area, "bbox": list(one.bbox_xywh), "segmentation": one.rle}
        for number, (image, one) in enumerate(_objects_of(category_id, showing), 1)
    ]  # fmt: skip
    found = [
        {"id": number, "image_id": one.image_id, "category_id": category_id, "iscrowd": 0,
         "area": _area(one, kind), "bbox": list(one.bbox_xywh), "segmentation": one.rle, "score": one.score}
        for number, one in enumerate(predicted, 1)
    ]  # fmt: skip
    counting = COCOeval_faster(
        COCO({"images": images, "categories": categories, "annotations": objects}),
        COCO({"images": images, "categories": categories, "annotations": found}),
        kind,
        lvis_style=truth.is_lvis,
        rle_iou_max_workers=1,  # threads would cost more than they save
    )
    counting.params.maxDets = [LVIS_MAX_DETECTIONS if truth.is_lvis else COCO_MAX_DETECTIONS]
    counting.evaluate()
    counting.accumulate()
    precision = np.asarray(counting.eval["precision"])[:, :, 0, :, 0]  # (thresholds, recalls, areas)
    areas = tuple(_mean(precision[:, :, area]) for area in range(len(_AREAS)))
    return _OfCategory(areas, _mean(precision[_THRESHOLD_50, :, 0]), _mean(precision[_THRESHOLD_75, :, 0]))


def _image_entry(image: TruthImage) -> dict[str, Any]:
    height, width = image.size_hw
    return {
        "id": image.id,
        "height": height,
        "width": width,
        "neg_category_ids": list(image.neg_category_ids),
        "not_exhaustive_category_ids": list(image.not_exhaustive_category_ids),
    }


def _objects_of(category_id: int, images: Iterable[TruthImage]) -> Iterator[tuple[TruthImage, TruthObject]]:
    return ((image, one) for image in images for one in image.objects if one.category_id == category_id)


def _area(one: Prediction, kind: _Kind) -> float:
    if kind == "segm":
        return float(coco_mask.area(one.rle))
    return one.bbox_xywh[2] * one.bbox_xywh[3]


def _mean(precision: np.ndarray) -> float | None:
    """-1 stands where the truth has no object."""
    told = precision[precision > -1]
    return float(told.mean()) if told.size else None


def _means(categories: Iterable[Category], found: Mapping[int, _OfCategory]) -> Scores:
    """Over the categories that have objects of the kind in question."""
    area = {name: [one.areas[place] for one in found.values()] for place, name in enumerate(_AREAS)}
    frequency = {
        name: [found[one.id].areas[0] for one in categories if one.id in found and one.frequency == name]
        for name in ("r", "c", "f")
    }
    return Scores(
        ap=_mean_of(area["all"]),
        ap50=_mean_of([one.ap50 for one in found.values()]),
        ap75=_mean_of([one.ap75 for one in found.values()]),
        small=_mean_of(area["small"]),
        medium=_mean_of(area["medium"]),
        large=_mean_of(area["large"]),
        rare=_mean_of(frequency["r"]),
        common=_mean_of(frequency["c"]),
        frequent=_mean_of(frequency["f"]),
    )


def _mean_of(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None


def _of_category(
    category: Category, showing: Sequence[TruthImage], found: Mapping[_Kind, Mapping[int, _OfCategory]]
) -> CategoryScores:
    objects = [(image.id, one) for image, one in _objects_of(category.id, showing) if not one.is_crowd]
    ap = {kind: scores[category.id].areas[0] if showing else None for kind, scores in found.items()}
    return CategoryScores(
        category.id,
        category.name,
        category.frequency,
        images=len({image_id for image_id, _ in objects}),
        instances=len(objects),
        ap_segm=ap["segm"],
        ap_bbox=ap["bbox"],
    )
