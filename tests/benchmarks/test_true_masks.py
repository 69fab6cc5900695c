import numpy as np
import pytest

from benchmarks.true_masks import Overlap, iou, overlap_with, quality
from xpaste_ray.embedded.labelled import ShownObject


def _columns(start, stop):
    """A mask of 4 x 10 pixels: those columns."""
    mask = np.zeros((4, 10), bool)
    mask[:, start:stop] = True
    return mask


OBJECTS = [
    ShownObject("frog", True, _columns(0, 4)),
    ShownObject("frog", True, _columns(6, 8)),
    ShownObject("bucket", False, _columns(4, 6)),
]


def test_iou_of_masks_by_hand():
    assert iou(_columns(0, 4), _columns(2, 6)) == pytest.approx(2 / 6)
    assert iou(_columns(0, 4), _columns(4, 8)) == 0
    assert iou(_columns(0, 0), _columns(0, 0)) == 0


def test_overlap_is_with_the_nearest_object_of_the_category_and_of_any_other():
    assert overlap_with(_columns(6, 8), OBJECTS, "frog") == Overlap(own=1, other=0)
    assert overlap_with(_columns(3, 6), OBJECTS, "frog") == Overlap(
        pytest.approx(1 / 6), pytest.approx(2 / 3)
    )
    assert overlap_with(_columns(4, 6), OBJECTS, "bucket") == Overlap(1, 0)
    assert overlap_with(_columns(8, 10), OBJECTS, "frog") == Overlap(0, 0)
    assert overlap_with(_columns(0, 4), [], "frog") == Overlap(0, 0)


def test_quality_counts_candidates_also_those_without_a_segment():
    """Four candidates: exact; 0.5; on another object; none."""
    own, other = np.array([1.0, 0.5, 0.2, 0.9]), np.array([0.0, 0.5, 0.6, 0.0])
    told = quality(np.array([0, 1, 2, -1]), own, other)
    assert told.candidates == 4
    assert (told.above_50, told.above_75) == (0.5, 0.25)  # 0.5 itself counts
    assert told.mean_iou == pytest.approx((1 + 0.5 + 0.2) / 4)
    assert told.impure == 0.25  # as much of either is no other's
