import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from tests.conftest import disc
from xpaste_ray.masks import (
    decode_png,
    encode_png,
    encode_rle,
    outer_contour,
    resize_cutout,
    shape_of_part,
    straight_cutout,
    tight_box_xywh,
)

_masks = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def test_tight_box_of_one_pixel():
    mask = np.zeros((4, 6), bool)
    mask[2, 5] = True
    assert tight_box_xywh(mask) == (5, 2, 1, 1)


def test_tight_box_of_nothing_is_none():
    assert tight_box_xywh(np.zeros((3, 3), bool)) is None


@given(_masks)
def test_rle_box_and_area_agree_with_the_dense_mask(mask):
    rle = encode_rle(mask)
    assert np.array_equal(coco_mask.decode(rle).astype(bool), mask)
    assert coco_mask.area(rle) == mask.sum()
    if mask.any():
        assert tuple(int(v) for v in coco_mask.toBbox(rle)) == tight_box_xywh(mask)


@given(arrays(np.uint8, st.sampled_from([(5, 7), (5, 7, 3)])))
def test_png_is_lossless(image):
    assert np.array_equal(decode_png(encode_png(image)), image)


def test_outer_contour_keeps_one_component_with_its_hole():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:12, 2:12] = 255
    mask[5:7, 5:7] = 0  # a hole stays a hole
    mask[15:18, 15:18] = 255  # a smaller object goes
    kept = outer_contour(mask)
    expected = mask.copy()
    expected[15:18, 15:18] = 0
    assert np.array_equal(kept, expected)


def test_outer_contour_keeps_one_pixel_of_soft_fringe():
    mask = np.zeros((12, 12), np.uint8)
    mask[3:9, 3:9] = 60
    mask[4:8, 4:8] = 255
    mask[0, 0] = 90  # a far speck of fringe goes
    kept = outer_contour(mask)
    assert kept[3, 3] == 60 and kept[5, 5] == 255 and kept[0, 0] == 0


def test_outer_contour_of_nothing_is_nothing():
    assert not outer_contour(np.full((5, 5), 128, np.uint8)).any()


def test_edge_colours_come_from_the_opaque_part():
    """The old background must not become a halo: every colour is one of the object's."""
    alpha = (disc(21, 6) * 255).astype(np.uint8)
    alpha[disc(21, 8) & (alpha == 0)] = 100
    rgb = np.full((21, 21, 3), 255, np.uint8)
    rgb[alpha == 255] = (10, 20, 30)
    cutout = straight_cutout(rgb, alpha)
    assert (cutout[..., :3] == (10, 20, 30)).all() and np.array_equal(cutout[..., 3], alpha)


def test_shrinking_averages_and_keeps_the_area():
    alpha = (disc(64, 20) * 255).astype(np.uint8)
    rgba = np.dstack((np.zeros((64, 64, 3), np.uint8), alpha))
    small = resize_cutout(rgba, (16, 16))[..., 3]
    assert abs((small / 255).sum() * 16 - disc(64, 20).sum()) < 8


@pytest.mark.parametrize("size_hw", [(64, 64), (50, 40), (16, 16), (13, 37), (100, 20), (1, 1), (5, 200)])
def test_resized_cutout_has_the_size_and_no_new_colours(size_hw):
    rgba = np.dstack((np.full((64, 64, 3), 77, np.uint8), (disc(64, 20) * 255).astype(np.uint8)))
    resized = resize_cutout(rgba, size_hw)
    assert resized.shape == (*size_hw, 4) and (resized[..., :3] == 77).all()


def test_fine_stripes_do_not_alias_when_shrunk():
    """Stripes of one pixel, black and white, are grey at a third of the size."""
    rgba = np.full((90, 90, 4), 255, np.uint8)
    rgba[:, ::2, :3] = 0
    shrunk = resize_cutout(rgba, (30, 30))[:, 2:-2, :3].astype(int)
    assert abs(shrunk - 128).max() <= 16


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_shape_of_a_part_equals_that_of_the_whole_mask(data):
    """Byte for byte as pycocotools encodes it, also where the part touches any border."""
    canvas_hw = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    top, left = (data.draw(st.integers(0, side - 1)) for side in canvas_hw)
    height, width = (
        data.draw(st.integers(1, side - start)) for side, start in zip(canvas_hw, (top, left), strict=True)
    )
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    part = np.array(bits).reshape(height, width)
    whole = np.zeros(canvas_hw, bool)
    whole[top : top + height, left : left + width] = part
    shape = shape_of_part(part, (top, left), canvas_hw)
    if not whole.any():
        assert shape is None
    else:
        assert (shape.rle, shape.area) == (encode_rle(whole), whole.sum())
        assert shape.box_xywh == tight_box_xywh(whole)


@st.composite
def _parts(draw):
    """(part, its corner, the canvas): up to 300 px a side, of any density, and of any borders touched."""
    canvas_hw = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    spans = []
    for side in canvas_hw:
        at_start, at_end = draw(st.booleans()), draw(st.booleans())
        start = 0 if at_start else draw(st.integers(0, side - 1))
        spans.append((start, side if at_end else draw(st.integers(start + 1, side))))
    (top, bottom), (left, right) = spans
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.0, 0.001, 0.1, 0.5, 0.9, 0.999, 1.0]))
    part = rng.random((bottom - top, right - left)) < density
    if draw(st.booleans()):  # its own borders too
        part[[0, -1]] = part[:, [0, -1]] = True
    return part, (top, left), canvas_hw


@settings(max_examples=300, deadline=None)
@given(_parts())
@example((np.ones((300, 7), bool), (0, 5), (300, 200)))  # runs that go on from column to column
@example((np.ones((9, 300), bool), (291, 0), (300, 300)))
@example((np.ones((300, 300), bool), (0, 0), (300, 300)))
def test_large_parts_have_the_bytes_of_pycocotools(case):
    part, (top, left), canvas_hw = case
    whole = np.zeros(canvas_hw, bool)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    shape = shape_of_part(part, (top, left), canvas_hw)
    theirs = coco_mask.encode(np.asfortranarray(whole, np.uint8))
    if not whole.any():
        assert shape is None
        return
    assert shape.rle["counts"].encode() == theirs["counts"] and shape.rle["size"] == list(canvas_hw)
    assert shape.area == coco_mask.area(theirs) and shape.box_xywh == tuple(coco_mask.toBbox(theirs))
