import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpaste_ray.compose.placement import (
    Circle,
    anywhere,
    corner_or_problem,
    enclosing_circle,
    inside,
    inside_fraction,
    largest_free_circle,
    scale_to_fit,
)
from xpaste_ray.config import PlaceSettings

SIDES = st.tuples(st.integers(1, 60), st.integers(1, 60))
PLACES = st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))


@given(PLACES, SIDES, SIDES, st.integers(0, 9))
def test_inside_lies_wholly_inside_or_is_too_large(places, size_hw, canvas_hw, reach):
    found = corner_or_problem(places, size_hw, canvas_hw, PlaceSettings(rule="inside"), reach)
    fits = all(size + 2 * reach <= canvas for size, canvas in zip(size_hw, canvas_hw, strict=True))
    assert (found != "too_large") is fits
    for start, size, canvas in zip(found, size_hw, canvas_hw, strict=True) if fits else ():
        assert reach <= start and start + size + reach <= canvas


def test_inside_reaches_every_corner_alike():
    """3 px in 5: the corners 0, 1 and 2."""
    corners = [inside((u, 0.0), (3, 5), (5, 5))[0] for u in np.linspace(0, 1, 300, endpoint=False)]
    assert np.bincount(corners).tolist() == [100, 100, 100]


@given(PLACES, SIDES, SIDES)
def test_centre_lies_on_the_canvas(places, size_hw, canvas_hw):
    for start, size, canvas in zip(anywhere(places, size_hw, canvas_hw), size_hw, canvas_hw, strict=True):
        assert 0 <= start + size // 2 < canvas


@pytest.mark.parametrize(
    ("corner", "share"), [((0, 0), 1.0), ((-2, 0), 0.5), ((-2, 8), 0.25), ((10, 0), 0.0), ((-4, 3), 0.0)]
)
def test_share_inside_by_hand(corner, share):
    """A 4 x 4 rectangle on 10 x 10."""
    assert inside_fraction(corner, (4, 4), (10, 10)) == share


def test_first_free_circle_touches_the_border():
    """100 x 60: the middle, and the radius to the nearer border, to the pixel."""
    circle = largest_free_circle(np.zeros((60, 100), np.uint8))
    assert circle.centre_yx[0] == pytest.approx(30, abs=0.5)
    assert 28.5 <= circle.radius <= 30


def test_free_circle_avoids_what_is_there():
    """The left 60 columns are taken: 40 x 60 are left, centred on column 80."""
    occupied = np.zeros((60, 100), np.uint8)
    occupied[:, :60] = 1
    circle = largest_free_circle(occupied)
    assert circle.centre_yx[1] == pytest.approx(80, abs=1) and 18.5 <= circle.radius <= 20


def test_full_canvas_has_no_free_circle():
    assert largest_free_circle(np.ones((8, 8), np.uint8)).radius == 0


@given(st.integers(0, 2**32 - 1))
def test_free_circle_holds_no_occupied_pixel_and_stays_inside(seed):
    occupied = (np.random.Generator(np.random.Philox(seed)).random((24, 31)) < 0.02).astype(np.uint8)
    circle = largest_free_circle(occupied)
    y, x = circle.centre_yx
    rows, columns = np.nonzero(occupied)
    nearest_y, nearest_x = np.clip(y, rows, rows + 1), np.clip(x, columns, columns + 1)
    assert (np.hypot(nearest_y - y, nearest_x - x) >= circle.radius - 1e-6).all()
    assert circle.radius <= min(y, x, 24 - y, 31 - x) + 1e-6


def test_enclosing_circle_of_a_square():
    """8 x 8 pixels: the middle, and half the diagonal."""
    alpha = np.zeros((12, 12), np.uint8)
    alpha[2:10, 3:11] = 1
    circle = enclosing_circle(alpha)
    assert circle.centre_yx == pytest.approx((6, 7), abs=0.01)
    assert circle.radius == pytest.approx(4 * np.sqrt(2), abs=0.01)


def test_nothing_has_no_enclosing_circle():
    assert enclosing_circle(np.zeros((3, 3), np.uint8)) is None


@pytest.mark.parametrize(("least", "found"), [(0.5, (-2, 1)), (0.51, "cut_by_border")])
def test_least_share_inside_by_hand(least, found):
    """A 4 x 4 rectangle about the middle of the upper edge of 10 x 6: half of it."""
    settings = PlaceSettings(rule="centre", min_inside_fraction=least)
    assert corner_or_problem((0.0, 0.5), (4, 4), (10, 6), settings) == found


@pytest.mark.parametrize(
    ("rate", "scale"),
    [
        pytest.param(0.5, 2.0, id="eroded"),
        pytest.param(1.0, 2.0, id="as it is: 20 / 10"),
        pytest.param(2.0, (20 - 2**0.5) / (10 + 15 / 2**0.5), id="dilated by half of 15 to each side"),
    ],
)
def test_scale_to_a_circle_by_hand(rate, scale):
    """A margin of 2 px in a circle of 22; an own circle of 10 around 15 x 16."""
    free, own = Circle((50, 50), 22.0), Circle((8, 8), 10.0)
    assert scale_to_fit(free, own, (15, 16), rate) == pytest.approx(scale)
    assert scale_to_fit(Circle((0, 0), 1.5), own, (15, 16), rate) == 0
