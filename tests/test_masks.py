import numpy as np
from hypothesis import given
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
    rgb = np.zeros((64, 64, 3), np.uint8)
    _, small = resize_cutout(rgb, alpha, (16, 16))
    assert abs((small / 255).sum() * 16 - disc(64, 20).sum()) < 8
