import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpaste_ray.compose.plan import View
from xpaste_ray.compose.views import draw_view, show
from xpaste_ray.config import CanvasSettings
from xpaste_ray.rng import rng_for


def _canvas(fit, scale=(1.0, 1.0), size_hw=(64, 64), flip=0.0):
    return CanvasSettings(size_hw=size_hw, fit=fit, scale=scale, flip_probability=flip)


def _view(size_hw, canvas, seed=0):
    return draw_view(rng_for(seed, "test"), size_hw, canvas)


@pytest.mark.parametrize(
    ("canvas", "view"),
    [
        pytest.param(_canvas("resize"), View((0, 0, 48, 32), (64, 64), False), id="resize"),
        pytest.param(_canvas("keep", flip=1.0), View((0, 0, 48, 32), (32, 48), True), id="keep-mirrored"),
        pytest.param(_canvas("lsj"), View((0, 0, 48, 32), (43, 64), False), id="lsj-1-fits: 64 / 48 x 32"),
        pytest.param(_canvas("lsj", (0.5, 0.5)), View((0, 0, 48, 32), (21, 32), False), id="lsj-half"),
    ],
)
def test_views_by_hand(canvas, view):
    assert _view((32, 48), canvas) == view


def test_lsj_beyond_the_canvas_crops_to_it():
    """Twice what fits: 128 x 85 px of the scaled image, of which 64 x 64 are seen."""
    view = _view((32, 48), _canvas("lsj", (2.0, 2.0)))
    assert view.size_hw == (64, 64) and view.crop_xywh[2:] == (24, 24)


@given(
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
    st.sampled_from(["resize", "keep", "crop", "lsj"]),
    st.integers(0, 1000),
)
def test_views_lie_inside_and_never_exceed_the_canvas(size_hw, fit, seed):
    canvas = _canvas(fit, (0.1, 1.0 if fit == "crop" else 2.0), (40, 60))
    view = _view(size_hw, canvas, seed)
    left, top, width, height = view.crop_xywh
    assert left >= 0 and left + width <= size_hw[1] and width >= 1
    assert top >= 0 and top + height <= size_hw[0] and height >= 1
    if fit == "lsj":
        assert 1 <= view.size_hw[0] <= 40 and 1 <= view.size_hw[1] <= 60
    else:
        assert view.size_hw == (size_hw if fit == "keep" else (40, 60))


@given(st.integers(20, 200), st.integers(20, 200), st.integers(0, 1000))
def test_crops_keep_the_aspect_ratio_of_the_canvas(height, width, seed):
    _, _, crop_width, crop_height = _view(
        (height, width), _canvas("crop", (0.5, 1.0), (40, 60)), seed
    ).crop_xywh
    assert crop_width == pytest.approx(crop_height * 1.5, abs=1.3)


def test_show_crops_resizes_and_mirrors():
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 3:] = 100
    assert (show(image, View((3, 0, 3, 4), (8, 6), False)) == 100).all()
    mirrored = show(image, View((0, 0, 6, 4), (4, 6), True))
    assert (mirrored[:, :3] == 100).all() and (mirrored[:, 3:] == 0).all()
