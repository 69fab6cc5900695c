import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpaste_ray.compose.patch import (
    colour_matrix,
    make_patch,
    matching_matrix,
    recolour,
    turned_point_yx,
    turned_size_hw,
)
from xpaste_ray.compose.plan import Colour, Placement


def _cutout(height, width, alpha=255, grey=90):
    rgba = np.full((height, width, 4), grey, np.uint8)
    rgba[..., 3] = alpha
    return rgba


def _placement(size_hw, **changes):
    return Placement("a", 1, size_hw, (10, 20), **changes)


def test_unchanged_cutout_is_the_patch():
    rgba = _cutout(5, 7)
    patch = make_patch(rgba, _placement((5, 7)), 1.0)
    assert np.array_equal(np.dstack((patch.rgb, patch.alpha)), rgba) and (patch.mask == 1).all()
    assert patch.top_left_yx == (10, 20) and patch.mask.dtype == np.uint8


@pytest.mark.parametrize(("alpha", "inside"), [(127, 0), (128, 1)])
def test_mask_is_what_is_at_least_half_opaque(alpha, inside):
    assert (make_patch(_cutout(4, 4, alpha), _placement((4, 4)), 1.0).mask == inside).all()


def test_flip_mirrors_left_and_right():
    rgba = _cutout(2, 4)
    rgba[:, 0, 3] = 0
    mask = make_patch(rgba, _placement((2, 4), flip=True), 1.0).mask
    assert mask.tolist() == [[1, 1, 1, 0]] * 2


def test_quarter_turn_is_exact():
    """Counter-clockwise: what was on the right is on top."""
    rgba = _cutout(4, 6)
    rgba[:, 5, 3] = 0
    mask = make_patch(rgba, _placement((4, 6), angle_deg=90), 1.0).mask
    assert mask.shape == (6, 4) and mask[1:].all() and not mask[0].any()


def test_turn_keeps_the_area_and_adds_no_halo():
    rgba = _cutout(60, 40)
    patch = make_patch(rgba, _placement((60, 40), angle_deg=30), 1.0)
    assert patch.mask.sum() == pytest.approx(2400, rel=0.02)
    assert (patch.rgb[patch.alpha > 0] == 90).all()


@pytest.mark.parametrize(
    ("angle", "size"), [(0, (30, 10)), (90, (10, 30)), (180, (30, 10)), (45, (29, 29)), (-45, (29, 29))]
)
def test_rectangle_around_a_turned_one(angle, size):
    """(30 + 10) x cos 45 = 28.28"""
    assert turned_size_hw((30, 10), angle) == size


@settings(max_examples=50)
@given(st.floats(-180, 180), st.integers(0, 39), st.integers(0, 59))
def test_points_turn_as_pixels_do(angle, y, x):
    rgba = _cutout(40, 60, alpha=0)
    rgba[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2, 3] = 255
    alpha = make_patch(rgba, _placement((40, 60), angle_deg=angle), 1.0).alpha.astype(float)
    rows, columns = np.mgrid[: alpha.shape[0], : alpha.shape[1]] + 0.5
    found = ((rows * alpha).sum() / alpha.sum(), (columns * alpha).sum() / alpha.sum())
    ys, xs = np.nonzero(rgba[..., 3])
    expected = turned_point_yx((ys.mean() + 0.5, xs.mean() + 0.5), (40, 60), angle)
    assert found == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize(
    ("rate", "side", "corner"),
    [pytest.param(1.2, 24, (8, 18), id="dilated"), pytest.param(0.8, 16, (12, 22), id="eroded")],
)
def test_mask_rate_grows_and_shrinks_by_a_share_of_the_shorter_side(rate, side, corner):
    """20 x 20, kernel 4: two pixels on each side, more or less."""
    patch = make_patch(_cutout(20, 20), _placement((20, 20)), rate)
    rows, columns = np.nonzero(patch.mask)
    assert abs(np.ptp(rows) + 1 - side) <= 1 and abs(np.ptp(columns) + 1 - side) <= 1
    assert abs(patch.top_left_yx[0] + rows.min() - corner[0]) <= 1
    assert abs(patch.top_left_yx[1] + columns.min() - corner[1]) <= 1


GREY = np.full((4, 4, 3), 100, np.uint8)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        pytest.param(Colour(1, 1, 1, 0), (200, 100, 50), id="nothing"),
        pytest.param(Colour(0.5, 1, 1, 0), (100, 50, 25), id="brightness"),
        pytest.param(Colour(1, 0.5, 1, 0), (150, 100, 75), id="contrast-about-100"),
        pytest.param(Colour(1, 1, 0, 0), (124, 124, 124), id="grey: 59.8 + 58.7 + 5.7"),
    ],
)
def test_colours_by_hand(colour, expected):
    rgb = np.full((2, 2, 3), (200, 100, 50), np.uint8)
    changed = recolour(rgb, colour_matrix(colour, mean_grey=100))
    assert np.abs(changed.astype(int) - expected).max() <= 1


def test_whole_turn_of_the_hue_changes_nothing_and_half_keeps_the_brightness():
    rgb = np.full((2, 2, 3), (150, 110, 100), np.uint8)
    assert np.abs(recolour(rgb, colour_matrix(Colour(1, 1, 1, 1.0), 100)).astype(int) - rgb).max() <= 1
    turned = recolour(rgb, colour_matrix(Colour(1, 1, 1, 0.5), 100))[0, 0].astype(float)
    assert turned @ (0.299, 0.587, 0.114) == pytest.approx(0.299 * 150 + 0.587 * 110 + 11.4, abs=2)
    assert turned[0] < turned[2]


def test_matching_moves_mean_and_deviation_by_their_shares():
    """Mean 50 to 150 by 0.2: 70. Deviation 10 to 30 by 0.5: doubled."""
    rgb = np.where(np.arange(16).reshape(4, 4, 1) % 2, 60, 40).astype(np.uint8).repeat(3, 2)
    background = np.where(np.arange(16).reshape(4, 4, 1) % 2, 180, 120).astype(np.uint8).repeat(3, 2)
    matrix = matching_matrix(rgb, np.ones((4, 4), np.uint8), background, (0.2, 0.5))
    changed = recolour(rgb, matrix)
    assert changed.mean() == pytest.approx(70, abs=0.6) and changed.std() == pytest.approx(20, abs=0.6)
