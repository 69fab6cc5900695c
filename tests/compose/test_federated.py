"""One LVIS image: shows 1 and 2 (2 not exhaustively), is known not to show 5; nothing is known of 9."""

import numpy as np
import pytest

from xpaste_ray.compose.federated import federated_lists
from xpaste_ray.samples import Annotation


class LvisImage:
    is_lvis = True

    def neg_category_ids(self, row):
        return (5, 6)

    def not_exhaustive_category_ids(self, row):
        return (2,)

    def present_category_ids(self, row):
        return np.array([1, 2])


class CocoImage:
    is_lvis = False


def _annotations(*category_ids):
    return [
        Annotation(
            category_id=category, segmentation={}, bbox=(0, 0, 1, 1), area=1, iscrowd=0, origin="pool",
            source_id="a", visible_fraction=1.0, z_order=1,
        )
        for category in category_ids
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "remnants", "neg", "not_exhaustive"),
    [
        pytest.param((1, 2), set(), (5, 6), (2,), id="nothing-pasted"),
        pytest.param((1, 2, 5), set(), (6,), (2,), id="absent-is-present-now-and-exhaustive"),
        pytest.param((1, 2, 9), set(), (5, 6), (2, 9), id="unknown-may-show-others"),
        pytest.param((1, 2, 1), set(), (5, 6), (2,), id="exhaustive-stays-exhaustive"),
        pytest.param((1, 2), {5}, (6,), (2, 5), id="remnant-of-an-absent-one"),
        pytest.param((2,), {1}, (5, 6), (1, 2), id="remnant-of-its-own"),
    ],
)
def test_lists_after_pasting(shown, remnants, neg, not_exhaustive):
    assert federated_lists(LvisImage(), 0, _annotations(*shown), remnants) == (neg, not_exhaustive)


def test_other_backgrounds_have_no_lists():
    assert federated_lists(CocoImage(), 0, _annotations(5), set()) == (None, None)
