"""The picture of what was found: a row each, what was chosen bright, the rest dark."""

import numpy as np
import pytest

from xpaste_ray.foregrounds.picture import Found, draw_found


def _found(first=0, last=1):
    image = np.full((96, 96, 3), 200, np.uint8)
    masks = [np.zeros((96, 96), bool) for _ in range(2)]
    masks[0][8:40, 8:40], masks[1][50:90, 50:90] = True, True
    activation = np.zeros((96, 96), np.float32)
    activation[20:30, 20:30] = 3
    return Found("frog", image, activation, (25.0, 25.0), masks, first, last)


def test_a_row_for_each_and_a_tile_for_each_step():
    one, two = draw_found([_found()]), draw_found([_found(), _found()])
    assert one.shape[1] == two.shape[1]
    assert two.shape[0] - one.shape[0] == 192 + 18  # a tile and its caption


def test_chosen_segment_is_bright_in_its_tile_and_the_rest_is_dark():
    drawn = draw_found([_found(first=0, last=1)])
    step = 192 + 6
    before, after = (
        drawn[22 : 22 + 192, 6 + 3 * step :][:, :192],
        drawn[22 : 22 + 192, 6 + 4 * step :][:, :192],
    )
    first, second = (48, 48), (140, 140)  # in tiles, which are twice as large
    assert before[first].tolist() == [200] * 3 and before[second].tolist() == [70] * 3
    assert after[second].tolist() == [200] * 3 and after[first].tolist() == [70] * 3


def test_nothing_chosen_and_no_activation_can_be_drawn():
    one = _found(first=None, last=None)
    empty = Found(one.category, one.image, one.activation * 0, None, [], None, None)
    assert draw_found([empty]).dtype == np.uint8


def test_nothing_found_is_refused():
    with pytest.raises(ValueError, match="nothing"):
        draw_found([])
