import math

import numpy as np
import pytest

from xpaste_ray.errors import RowError
from xpaste_ray.models.cam import activation_centre_yx, mean_distance


def test_centre_is_the_mean_of_the_pixels_from_the_threshold_on_each_counting_alike():
    """Of 10, 5 and 4 the first two reach half of the maximum: (1, 2) and (3, 6)."""
    activation = np.zeros((5, 9), np.float32)
    activation[1, 2], activation[3, 6], activation[4, 0] = 10, 5, 4
    assert activation_centre_yx(activation, 0.5) == (2.0, 4.0)
    assert activation_centre_yx(activation, 0.51) == (1.0, 2.0)
    assert activation_centre_yx(activation, 0.4) == (8 / 3, 8 / 3)


def test_threshold_of_nothing_still_leaves_out_what_is_not_active():
    activation = np.zeros((5, 9), np.float32)
    activation[4, 8] = 1
    assert activation_centre_yx(activation, 0.0) == (4.0, 8.0)


def test_centre_of_a_map_without_activation_is_the_images():
    assert activation_centre_yx(np.zeros((5, 8), np.float32), 0.5) == (2.0, 3.5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_activation_that_is_no_number_rejects(value):
    activation = np.ones((3, 3), np.float32)
    activation[1, 1] = value
    with pytest.raises(RowError, match="nan_score"):
        activation_centre_yx(activation, 0.5)


def test_distance_is_the_mean_over_pixels_in_diagonals():
    """Pixels (0, 3) and (0, 4) are 3 and 4 from (0, 0); the diagonal of 30 x 40 is 50."""
    mask = np.zeros((30, 40), np.uint8)
    mask[0, 3:5] = 255
    mask[20, 20] = 128  # not above
    assert mean_distance(mask, (0.0, 0.0)) == pytest.approx(3.5 / 50)


def test_distance_from_its_own_centre_is_less_the_smaller_a_segment_is():
    small, large = np.zeros((50, 50), np.uint8), np.zeros((50, 50), np.uint8)
    small[24:27, 24:27], large[15:36, 15:36] = 255, 255
    assert mean_distance(small, (25, 25)) < mean_distance(large, (25, 25)) < 0.5
    assert mean_distance(small, (25, 25)) == pytest.approx((4 + 4 * math.sqrt(2)) / 9 / math.hypot(50, 50))


def test_mask_that_marks_nothing_has_no_distance():
    with pytest.raises(ValueError, match="marks nothing"):
        mean_distance(np.full((4, 4), 128, np.uint8), (0, 0))
