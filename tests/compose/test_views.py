import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from xpaste_ray.backgrounds import BackgroundAnnotation
from xpaste_ray.compose.plan import View
from xpaste_ray.compose.views import draw_view, show, show_layers
from xpaste_ray.config import CanvasSettings
from xpaste_ray.masks import tight_box_xywh
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


def _annotation(mask):
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return BackgroundAnnotation(1, 5, 0, tight_box_xywh(mask), int(mask.sum()), rle)


def _seen_whole(mask, view):
    """The whole mask, cut, resized by OpenCV and mirrored."""
    left, top, width, height = view.crop_xywh
    part = np.ascontiguousarray(mask[top : top + height, left : left + width]).view(np.uint8)
    part = cv2.resize(part, view.size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return part[:, ::-1] if view.flip else part


@st.composite
def _masks_and_views(draw):
    """A mask with a hole and a second part on up to 90 px a side, and a view that may cut, shrink, grow
    and mirror it."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    mask = np.zeros((height, width), bool)
    for value in (True, False, True):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[top : top + draw(st.integers(1, 90)), left : left + draw(st.integers(1, 90))] = value
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    crop = (x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))
    size_hw = draw(
        st.one_of(st.just((crop[3], crop[2])), st.tuples(st.integers(1, 150), st.integers(1, 150)))
    )
    return mask, View(crop, size_hw, draw(st.booleans()))


@settings(max_examples=400, deadline=None)
@given(_masks_and_views())
def test_masks_are_those_of_the_whole_canvas(case):
    """Pixel for pixel what cv2.resize makes of the whole mask, in a tight rectangle."""
    mask, view = case
    left, top, width, height = view.crop_xywh
    found = list(show_layers((_annotation(mask),), view))
    whole = _seen_whole(mask, view)
    assert len(found) == int(mask[top : top + height, left : left + width].any())
    for _, layer in found:
        painted = np.zeros(view.size_hw, np.uint8)
        (y, x), (h, w) = layer.top_left_yx, layer.mask.shape
        painted[y : y + h, x : x + w] = layer.mask
        assert np.array_equal(painted, whole)
        assert (x, y, w, h) == tight_box_xywh(whole) if whole.any() else (h, w) == (0, 0)


def test_mask_that_shrinks_to_nothing_is_there_and_empty():
    """One pixel of 100 x 100 in a view of 10 x 10, which shows every tenth pixel from the sixth on."""
    view = View((0, 0, 100, 100), (10, 10), False)
    for at, pixels in ((3, 0), (5, 1)):
        mask = np.zeros((100, 100), bool)
        mask[at, at] = True
        ((_, layer),) = show_layers((_annotation(mask),), view)
        assert layer.mask.sum() == pixels


def test_object_outside_the_crop_is_not_there():
    """Also one whose box reaches into it: an L around the crop."""
    mask = np.zeros((20, 20), bool)
    mask[:, 0] = mask[19] = True
    assert not list(show_layers((_annotation(mask),), View((5, 5, 10, 10), (10, 10), False)))
