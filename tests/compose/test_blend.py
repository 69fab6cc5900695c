import numpy as np
import pytest

from tests.conftest import disc
from xpaste_ray.compose.blend import paint, prepare
from xpaste_ray.compose.patch import Patch


def _of(mask):
    return Patch(np.full((*mask.shape, 3), 200, np.uint8), mask * np.uint8(255), mask, (5, 6))


def _patch():
    """A disc, grey 200."""
    return _of(disc(21, 7).astype(np.uint8))


def _painted(patch, blend, background=100):
    part = np.full((*patch.mask.shape, 3), background, np.uint8)
    paint(part, patch.rgb, patch.alpha, patch.mask, blend)
    return part[..., 0]


@pytest.mark.parametrize("blend", ["hard", "alpha"])
def test_opaque_pixels_are_replaced_and_others_left(blend):
    patch = prepare(_patch(), blend, None)
    assert np.array_equal(_painted(patch, blend), np.where(patch.mask, 200, 100))


def test_alpha_is_a_weighted_mean():
    """0.2 x 200 + 0.8 x 100"""
    patch = _patch()
    patch.alpha[:] = 51
    assert (_painted(patch, "alpha") == 120).all()


def test_hard_blend_ignores_soft_edges():
    patch = _patch()
    patch.alpha[:] = np.where(patch.mask, 130, 120)
    assert np.array_equal(_painted(prepare(patch, "hard", None), "hard"), np.where(patch.mask, 200, 100))


@pytest.mark.parametrize(
    ("blend", "motion", "margin"),
    [
        ("gaussian", None, 2),
        ("box", None, 1),
        ("box5", None, 2),
        ("motion", (5, 0.0), 2),
        ("motion", (9, 30.0), 4),
    ],
)
def test_blurred_edges_go_from_one_to_the_other(blend, motion, margin):
    before = _patch()
    patch = prepare(before, blend, motion)
    assert patch.top_left_yx == (5 - margin, 6 - margin)
    assert np.array_equal(patch.mask[margin:-margin, margin:-margin], before.mask)
    assert patch.mask.sum() == before.mask.sum()  # the mask stays the hard one
    painted = _painted(patch, blend)
    middle = painted.shape[0] // 2
    assert painted[middle, middle] == 200 and painted[0, 0] == 100
    row = painted[middle, : middle + 1].astype(int)
    assert (np.diff(row) >= 0).all() and ((row > 100) & (row < 200)).any()


def test_horizontal_motion_blurs_horizontally_only():
    square = _of(np.ones((21, 21), np.uint8))
    alpha = prepare(square, "motion", (5, 0.0)).alpha
    assert alpha[12, 0] == 51 and alpha[12, 12] == 255  # one of five pixels
    assert alpha[1, 12] == 0 and alpha[2, 12] == 255


def test_poisson_keeps_the_background_outside_and_the_gradients_inside():
    """A flat patch has no gradients: the background shines through. A step in it survives."""
    flat = _patch()
    assert np.abs(_painted(flat, "poisson").astype(int) - 100).max() <= 2
    flat.rgb[:, 11:] = 120
    stepped = _painted(flat, "poisson").astype(int)
    assert stepped[10, 8] - stepped[10, 13] > 30
    assert (stepped[flat.mask == 0] == 100).all()


@pytest.mark.parametrize(
    "mask", [np.ones((6, 9), np.uint8), np.eye(5, dtype=np.uint8), np.ones((1, 1), np.uint8)]
)
def test_poisson_takes_any_mask(mask):
    assert _painted(_of(mask), "poisson").shape == mask.shape


def test_poisson_of_nothing_paints_nothing():
    assert (_painted(_of(np.zeros((4, 4), np.uint8)), "poisson") == 100).all()
