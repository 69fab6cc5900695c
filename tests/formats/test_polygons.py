import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from tests.formats.conftest import rectangle
from xpaste_ray.formats.polygons import coco_polygons, edge_polygons, pixel_polygon
from xpaste_ray.masks import encode_rle, tight_box_xywh

MASKS = arrays(bool, st.tuples(st.integers(1, 13), st.integers(1, 13))).filter(lambda mask: mask.any())


def drawn(polygons, size_hw):
    """What pycocotools makes of polygons."""
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *size_hw))).astype(bool)


@pytest.mark.parametrize(
    ("mask", "polygons"),
    [
        pytest.param(rectangle(2, 1, 1, 1, (4, 5)), [[2, 1, 2, 2, 3, 2, 3, 1]], id="one-pixel-is-a-square"),
        pytest.param(rectangle(0, 0, 5, 4, (4, 5)), [[0, 0, 0, 4, 5, 4, 5, 0]], id="the-whole-image"),
        pytest.param(
            rectangle(0, 0, 1, 1, (4, 5)) | rectangle(3, 2, 2, 1, (4, 5)),
            [[3, 2, 3, 3, 5, 3, 5, 2], [0, 0, 0, 1, 1, 1, 1, 0]],
            id="two-parts-are-two-polygons",
        ),
    ],
)
def test_coco_polygons_run_along_the_edges_of_pixels(mask, polygons):
    assert coco_polygons(encode_rle(mask), tight_box_xywh(mask)) == polygons


@settings(max_examples=300, deadline=None)
@given(MASKS)
def test_coco_polygons_give_back_every_mask_pixel_by_pixel(mask):
    """Holes, parts that touch at a corner and single pixels too: IoU 1."""
    polygons = coco_polygons(encode_rle(mask), tight_box_xywh(mask))
    assert np.array_equal(drawn(polygons, mask.shape), mask)
    assert all(len(ring) >= 8 for ring in polygons)
    parts, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    assert len(polygons) == parts - 1


def test_a_hole_is_bridged_and_comes_back():
    ring = rectangle(1, 1, 8, 6, (9, 11)) & ~rectangle(3, 3, 2, 2, (9, 11))
    (polygon,) = edge_polygons(ring)
    assert len(polygon) == 10  # 4 corners and 4 of the hole, each of the two rings closed by the bridge
    assert np.array_equal(drawn([polygon.ravel().tolist()], ring.shape), ring)


def test_an_empty_mask_has_no_polygon():
    assert edge_polygons(np.zeros((4, 4), dtype=bool)) == []


@settings(max_examples=300, deadline=None)
@given(MASKS)
def test_pixel_polygon_covers_the_mask_with_opencv(mask):
    filled = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(filled, [pixel_polygon(mask)], 1)
    assert not (mask & (filled == 0)).any()


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(rectangle(3, 4, 1, 1), id="one-pixel"),
        pytest.param(rectangle(3, 4, 9, 1), id="a-line"),
        pytest.param(rectangle(2, 2, 12, 10) & ~rectangle(5, 5, 4, 3), id="a-hole"),
        pytest.param(rectangle(2, 2, 9, 9) | rectangle(10, 10, 9, 9), id="parts-that-touch"),
    ],
)
def test_pixel_polygon_of_one_part_is_exact(mask):
    filled = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(filled, [pixel_polygon(mask)], 1)
    assert np.array_equal(filled > 0, mask)


def test_two_parts_are_joined_by_a_line_between_their_nearest_points():
    mask = rectangle(2, 2, 4, 4) | rectangle(10, 2, 4, 4)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(filled, [pixel_polygon(mask)], 1)
    bridge = (filled > 0) & ~mask
    assert bridge.sum() == 4 and tight_box_xywh(bridge)[2:] == (4, 1)  # columns 6 .. 9 of one row
