import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from tests.conftest import disc
from xpaste_ray.masks import (
    decode_png,
    encode_png,
    encode_rle,
    largest_object,
    resize_cutout,
    shape_of_part,
    spread_edge_colour,
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


def test_largest_object_keeps_one_component_with_its_hole():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:12, 2:12] = 255
    mask[5:7, 5:7] = 0  # a hole stays a hole
    mask[15:18, 15:18] = 255  # a smaller object goes
    kept = largest_object(mask)
    expected = mask.copy()
    expected[15:18, 15:18] = 0
    assert np.array_equal(kept, expected)


def test_largest_object_keeps_one_pixel_of_soft_fringe():
    mask = np.zeros((12, 12), np.uint8)
    mask[3:9, 3:9] = 60
    mask[4:8, 4:8] = 255
    mask[0, 0] = 90  # a far speck of fringe goes
    kept = largest_object(mask)
    assert kept[3, 3] == 60 and kept[5, 5] == 255 and kept[0, 0] == 0


def test_largest_object_of_nothing_is_nothing():
    assert not largest_object(np.full((5, 5), 128, np.uint8)).any()


def test_edge_colours_come_from_the_opaque_part():
    """The old background must not become a halo: every colour is one of the object's."""
    alpha = (disc(21, 6) * 255).astype(np.uint8)
    alpha[disc(21, 8) & (alpha == 0)] = 100
    rgb = np.full((21, 21, 3), 255, np.uint8)
    rgb[alpha == 255] = (10, 20, 30)
    spread = spread_edge_colour(rgb, alpha)
    assert (spread == (10, 20, 30)).all()


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
