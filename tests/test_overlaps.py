import numpy as np
import pytest

from xpaste_ray.overlaps import overlaps_of


def _rectangle(top, left, height, width, size_hw=(13, 21)):
    mask = np.zeros(size_hw, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_two_squares_by_hand():
    """3 x 3 and 3 x 3 that share one column of 3: IoU 3 / 15, a third of each."""
    assert overlaps_of([_rectangle(0, 0, 3, 3), _rectangle(0, 2, 3, 3)]) == [
        ((1, 3 / 15, 1 / 3),), ((0, 3 / 15, 1 / 3),),
    ]  # fmt: skip


def test_both_know_of_a_small_mask_inside_a_large_one():
    """2 of 200 pixels: IoU 0.01, all of the small one, a hundredth of the large one."""
    large, small = _rectangle(0, 0, 10, 20), _rectangle(4, 4, 1, 2)
    assert overlaps_of([large, small]) == [((1, 0.01, 0.01),), ((0, 0.01, 1.0),)]


@pytest.mark.parametrize(("shared", "known"), [(1, True), (0, False)])
def test_a_tenth_of_either_is_enough(shared, known):
    """10 x 1 beside 10 x 1 in the same row, and one of ten pixels in common."""
    found = overlaps_of([_rectangle(0, 0, 1, 10), _rectangle(0, 10 - shared, 1, 10)])
    assert [bool(one) for one in found] == [known, known]


def test_less_than_a_tenth_of_both_is_left_out():
    """12 pixels each, one in common."""
    assert overlaps_of([_rectangle(0, 0, 1, 11), _rectangle(0, 10, 1, 11)]) == [(), ()]


def test_boxes_that_meet_without_a_pixel_in_common():
    ell = _rectangle(0, 0, 5, 1) | _rectangle(4, 0, 1, 5)
    assert overlaps_of([ell, _rectangle(0, 2, 2, 3)]) == [(), ()]


def test_random_masks_agree_with_counting_pixels():
    rng = np.random.default_rng(0)
    masks = [rng.random((13, 21)) < share for share in (0.05, 0.2, 0.5, 0.9, 0.5)]
    for i, found in enumerate(overlaps_of(masks)):
        expected = []
        for j, other in enumerate(masks):
            both, either = (masks[i] & other).sum(), (masks[i] | other).sum()
            if j != i and both / min(masks[i].sum(), other.sum()) >= 0.1:
                expected.append((j, both / either, both / masks[i].sum()))
        assert found == tuple(expected)


def test_no_masks_and_one_mask():
    assert overlaps_of([]) == [] and overlaps_of([_rectangle(0, 0, 2, 2)]) == [()]
