"""Hand-made truths and predictions."""

import numpy as np

from xpaste_ray.categories import Category
from xpaste_ray.evaluation import Prediction, Truth, TruthImage, TruthObject
from xpaste_ray.masks import encode_rle

CAT, DOG = Category(1, "cat", frequency="r"), Category(2, "dog", frequency="f")
SIZE_HW = (200, 200)


def rle(left, top, width, height, size_hw=SIZE_HW):
    mask = np.zeros(size_hw, bool)
    mask[top : top + height, left : left + width] = True
    return encode_rle(mask)


def thing(category, left, top, width, height, crowd=False):
    """A rectangle that is there."""
    box = (float(left), float(top), float(width), float(height))
    counts = rle(left, top, width, height)
    return TruthObject(category.id, crowd, float(width * height), box, counts)


def said(image_id, category, score, left, top, width, height):
    """A rectangle that is predicted."""
    box = (float(left), float(top), float(width), float(height))
    counts = rle(left, top, width, height)["counts"]
    return Prediction(image_id, category.id, box, score, SIZE_HW, counts)


def image(number, *objects, negative=(), not_exhaustive=()):
    return TruthImage(
        number, number, SIZE_HW, objects,
        frozenset(one.id for one in negative), frozenset(one.id for one in not_exhaustive),
    )  # fmt: skip


def truth(*images, lvis=False, categories=(CAT, DOG)):
    return Truth(images, categories, lvis)


def as_predicted(truth):
    """The truth itself as predictions, each with a score of its own."""
    return [
        Prediction(each.id, one.category_id, one.bbox_xywh, 0.9 - number / 1000, each.size_hw, counts(one))
        for number, (each, one) in enumerate((each, one) for each in truth.images for one in each.objects)
        if not one.is_crowd
    ]


def counts(one):
    told = one.rle["counts"]
    return told if isinstance(told, str) else told.decode()
