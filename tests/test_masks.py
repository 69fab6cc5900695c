import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask
from scipy import ndimage

from tests.conftest import disc
from xpaste_ray.masks import (
    decode_png,
    encode_png,
    encode_rle,
    largest_component,
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


def _ring(side_px=20):
    """A square ring of 12 px with a hole of 6 px, in which an island of 2 px stands."""
    mask = np.zeros((side_px, side_px), np.uint8)
    mask[2:14, 2:14] = 255
    mask[5:11, 5:11] = 0
    mask[7:9, 7:9] = 255
    return mask


def test_a_contour_holds_what_is_in_its_hole_and_a_component_does_not():
    ring = _ring()
    assert np.array_equal(outer_contour(ring), ring)
    alone = ring.copy()
    alone[7:9, 7:9] = 0
    assert np.array_equal(largest_component(ring), alone)


def test_a_half_transparent_hole_is_kept_by_the_contour_and_cleared_by_the_component():
    mask = _ring()
    mask[5:11, 5:11] = 60  # soft: a veil in the hole
    assert np.array_equal(outer_contour(mask), mask)
    kept = largest_component(mask)
    assert (kept[6:10, 6:10] == 0).all() and (kept[5, 5:11] == 60).all()  # but for a pixel of fringe


def test_a_thin_frame_is_the_largest_contour_and_a_full_square_the_largest_component():
    """A frame of 40 pixels encloses 100; beside it 49 pixels in one piece."""
    mask = np.zeros((20, 30), np.uint8)
    mask[2:13, 2:13] = 255
    mask[3:12, 3:12] = 0
    mask[5:12, 18:25] = 255
    assert tight_box_xywh(outer_contour(mask) > 128) == (2, 2, 11, 11)
    assert tight_box_xywh(largest_component(mask) > 128) == (18, 5, 7, 7)


def test_of_equal_components_the_topmost_and_leftmost_is_kept():
    mask = np.zeros((12, 12), np.uint8)
    mask[6:8, 1:3] = mask[2:4, 8:10] = mask[2:4, 4:6] = 255
    assert tight_box_xywh(largest_component(mask) > 0) == (4, 2, 2, 2)


def test_largest_component_of_nothing_is_nothing():
    assert not largest_component(np.full((5, 5), 128, np.uint8)).any()


@settings(deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_what_is_kept_is_one_object_as_it_was(soft):
    """Both rules: values are those of the mask or 0; what is above 128 is one piece of it (for a contour:
    with all that it encloses), and the component is the largest there is."""
    labels, count = ndimage.label(soft > 128, np.ones((3, 3)))
    for rule in (outer_contour, largest_component):
        kept = rule(soft)
        assert ((kept == soft) | (kept == 0)).all() and (kept > 128).any() == (count > 0)
    if count:
        whole = ndimage.binary_fill_holes(outer_contour(soft) > 128)
        assert ndimage.label(whole, np.ones((3, 3)))[1] == 1
        component = largest_component(soft) > 128
        assert component.sum() == np.bincount(labels.ravel())[1:].max()
        assert len(np.unique(labels[component])) == 1


@settings(deadline=None)
@given(st.data())
def test_every_hidden_colour_is_that_of_the_nearest_opaque_pixel(data):
    """Up to the small error of a 5 x 5 distance transform; the opaque part stays."""
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    alpha = data.draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 90, 255])))
    y, x = np.mgrid[: shape[0], : shape[1]]
    rgb = np.stack((y, x, y + x), axis=2).astype(np.uint8)  # a colour tells where it is from
    rgba = straight_cutout(rgb, alpha)
    assert np.array_equal(rgba[..., 3], alpha)
    opaque = alpha == 255
    if not opaque.any():
        assert np.array_equal(rgba[..., :3], rgb)
        return
    assert np.array_equal(rgba[opaque][:, :3], rgb[opaque])
    assert opaque[rgba[..., 0], rgba[..., 1]].all()
    reached = np.hypot(rgba[..., 0] - y.astype(float), rgba[..., 1] - x.astype(float))
    assert (reached <= 1.05 * ndimage.distance_transform_edt(~opaque) + 0.1).all()


def test_a_soft_mask_keeps_the_colours_inside_of_it():
    """A model's mask of 200 all over: only two pixels at the outline may be of the old background."""
    rgb = np.random.default_rng(0).integers(0, 256, (21, 21, 3), np.uint8)
    alpha = np.zeros((21, 21), np.uint8)
    alpha[3:18, 3:18] = 200
    alpha[10, 10] = 255
    rgba = straight_cutout(rgb, alpha)
    inner = np.s_[5:16, 5:16]
    assert np.array_equal(rgba[inner][..., :3], rgb[inner])
    assert np.array_equal(rgba[3, 10, :3], rgb[5, 10]) and np.array_equal(rgba[0, 10, :3], rgb[5, 10])


def test_a_thin_part_keeps_its_colours():
    """A line of one pixel, too soft to be opaque, beside a square."""
    rgb = np.full((20, 30, 3), 50, np.uint8)
    alpha = np.zeros((20, 30), np.uint8)
    alpha[5:15, 2:12] = 255
    alpha[10, 12:28], rgb[10, 12:28] = 180, 222
    rgba = straight_cutout(rgb, alpha)
    assert (rgba[10, 15:28, :3] == 222).all() and (rgba[8, 20, :3] == 222).all()
    assert (rgba[5:15, 2:12, :3] == 50).all()


@given(arrays(np.uint8, (5, 7, 4)))
def test_png_keeps_colours_that_are_not_seen(image):
    assert np.array_equal(decode_png(encode_png(image)), image)


def test_png_for_a_file_that_compresses_itself_is_a_png_like_any_other():
    """Rows of this image differ by one everywhere: such differences pack to nearly nothing."""
    image = np.add.outer(np.arange(200), np.arange(200)).astype(np.uint8)
    held = encode_png(image, compressed=False)
    assert len(held) > 200 * 200 > 10 * len(pa.compress(held, "zstd", asbytes=True))
    assert np.array_equal(decode_png(held), image)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(held))), image)
