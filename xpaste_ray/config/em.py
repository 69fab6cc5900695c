"""How F-EM chooses the segments that show a category (EM-Paste, Algorithm 1)."""

from typing import Annotated, Literal

from pydantic import Field

from xpaste_ray.config.base import Fraction, PositiveInt, Section


class EmSettings(Section):
    """Of the segments of an image, the one that shows its category.

    nearest: how many of those nearest to the activation's centre the classifier chooses from, in step 1.
    inner_fraction: k, the part of a category's chosen segments, those nearest to their mean, that mean and
    covariance are taken of again; two at least. distance: `mahalanobis` (the paper's text) or `cosine` to the
    mean (its figure 2). shrinkage: of the covariance, `ledoit-wolf` (at least 1 / n of n segments, as two
    would not be shrunk at all) or a part of it that becomes a multiple of one. iterations: at most so many;
    it ends where nothing changes. feature_dims: features with more numbers are reduced to so many principal
    components of the category's own; null keeps all, and so does `cosine`, which needs no covariance.
    objects: `one` for each category of an image, as the paper; `many`, also other segments that overlap none
    that is chosen (IoU, and the part of either that the other has, at most `max_overlap_iou`) and lie within
    the distance of the inner ones. min_class_score: the classifier's probability of a chosen segment (paper:
    0.1); one with less is not replaced by another.
    """

    nearest: PositiveInt = 3
    inner_fraction: Annotated[float, Field(gt=0, le=1)] = 0.25
    distance: Literal["mahalanobis", "cosine"] = "mahalanobis"
    shrinkage: Literal["ledoit-wolf"] | Annotated[float, Field(ge=0, le=1)] = "ledoit-wolf"
    iterations: Annotated[int, Field(ge=0, le=100)] = 3
    feature_dims: PositiveInt | None = 512
    objects: Literal["one", "many"] = "one"
    max_overlap_iou: Fraction = 0.1
    min_class_score: Fraction = 0.1
