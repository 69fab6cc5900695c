"""How well one image is predicted, to find those that are worth a look."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from pycocotools import mask as coco_mask

from xpaste_ray.evaluation.predictions import Prediction, sorted_predictions
from xpaste_ray.evaluation.truth import Truth, TruthImage, TruthObject

SURE_FROM = 0.3
"""Predictions of a lower score are neither counted nor drawn."""

_MATCHES_ABOVE = 0.5  # IoU


def rank_images(truth: Truth, predictions: Sequence[Prediction]) -> list[tuple[TruthImage, float]]:
    """Images with their scores, best first; those that have none are left out."""
    sure = (one for one in sorted_predictions(predictions) if one.score >= SURE_FROM)
    by_image = {number: list(found) for number, found in groupby(sure, key=lambda one: one.image_id)}
    scored = [
        (image, image_score(image, by_image.get(image.id, []), truth.is_lvis)) for image in truth.images
    ]
    ranked = [(image, score) for image, score in scored if score is not None]
    return sorted(ranked, key=lambda one: (-one[1], one[0].id))


def image_score(image: TruthImage, predictions: Sequence[Prediction], is_lvis: bool) -> float | None:
    """Panoptic quality (arXiv:1801.00868) of the image's objects, in [0, 1].

    The sum of the IoUs of matched pairs / (pairs + missed objects / 2 + false predictions / 2). The surest
    prediction chooses first, among the objects of its category that it overlaps with an IoU above 0.5. One
    that lies in a crowd for more than a half is not counted, nor in LVIS one of a category of which the image
    does not tell, or not of every object. None if there is nothing to count.

    predictions: of the image, the surest first. Leaving the paper: objects may overlap, and all categories
    are one.
    """
    found = defaultdict[int, list[Prediction]](list)
    for one in predictions:
        found[one.category_id].append(one)
    overlap, pairs, missed, false = 0.0, 0, 0, 0
    for category_id in sorted({one.category_id for one in image.objects} | set(found)):
        objects = [one for one in image.objects if one.category_id == category_id]
        ious, in_crowds = _match(objects, found[category_id])
        overlap += sum(ious)
        pairs += len(ious)
        missed += sum(not one.is_crowd for one in objects) - len(ious)
        if not is_lvis or _tells_all(image, category_id):
            false += len(found[category_id]) - len(ious) - in_crowds
    counted = pairs + missed / 2 + false / 2
    return overlap / counted if counted else None


def _tells_all(image: TruthImage, category_id: int) -> bool:
    known = category_id in image.judged_category_ids()
    return known and category_id not in image.not_exhaustive_category_ids


def _match(objects: Sequence[TruthObject], predictions: Sequence[Prediction]) -> tuple[list[float], int]:
    """IoUs of the pairs of one category, and how many predictions without a partner lie in a crowd."""
    if not objects or not predictions:
        return [], 0
    crowd = np.array([one.is_crowd for one in objects])
    overlaps = coco_mask.iou([one.rle for one in predictions], [one.rle for one in objects], crowd.tolist())
    free = ~crowd
    ious: list[float] = []
    in_crowds = 0
    for row in np.asarray(overlaps):
        place = int(np.argmax(np.where(free, row, -1)))
        if free[place] and row[place] > _MATCHES_ABOVE:
            free[place] = False
            ious.append(float(row[place]))
        elif (row[crowd] > _MATCHES_ABOVE).any():
            in_crowds += 1
    return ious, in_crowds
