import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpaste_ray.models.segment_picture import eroded, in_square, inset_xywh, out_of_square, segment_picture

GREY = 128


def _mask(size_hw, top, bottom, left, right):
    mask = np.zeros(size_hw, np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def test_segment_fills_the_square_and_all_else_is_grey():
    """A white box of 20 x 40 becomes 32 x 64, in the middle of 64 x 64."""
    image = np.zeros((100, 100, 3), np.uint8)
    image[30:50, 40:80] = 255
    picture = segment_picture(image, _mask((100, 100), 30, 50, 40, 80), 64, erode=0)
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    assert (picture[16:48] == 255).all()
    assert (picture[:16] == GREY).all() and (picture[48:] == GREY).all()


def test_what_is_not_of_the_segment_inside_of_its_box_is_grey():
    image = np.full((40, 40, 3), 200, np.uint8)
    mask = _mask((40, 40), 4, 36, 4, 36)
    mask[4:20, 4:20] = 128  # not above: not object
    picture = segment_picture(image, mask, 32, erode=0, grey=90)
    assert (picture[:16, :16] == 90).all()
    assert (picture[16:] == 200).all() and (picture[:, 16:] == 200).all()


def test_outline_is_moved_inwards_and_the_box_follows():
    """A red rim of 2 px around blue: a tenth of 20 px is 2 px."""
    image = np.zeros((60, 60, 3), np.uint8)
    image[20:40, 10:50] = (255, 0, 0)
    image[22:38, 12:48] = (0, 0, 255)
    mask = _mask((60, 60), 20, 40, 10, 50)
    whole, inner = (segment_picture(image, mask, 36, erode=erode) for erode in (0, 0.1))
    assert (whole[..., 0] > 200).any()
    assert not (inner[..., 0] > GREY).any()
    assert (inner[10:26] == (0, 0, 255)).all()  # 16 x 36


def test_segment_that_nothing_would_be_left_of_stays_as_it_is():
    """A line of 1 px, with a large erosion."""
    image = np.full((30, 30, 3), 7, np.uint8)
    mask = _mask((30, 30), 10, 13, 5, 25)
    assert not eroded(mask > 0, 2).any()
    picture = segment_picture(image, mask, 40, erode=0.49)
    assert (picture == 7).all(axis=2).sum() > 0
    line = segment_picture(image, _mask((30, 30), 10, 11, 5, 25), 40, erode=0.49)
    assert (line[19:21] == 7).all(axis=2).any()


def test_erosion_comes_from_the_edges_of_the_frame_too():
    assert eroded(np.ones((7, 7), bool), 2).sum() == 9
    assert eroded(np.ones((7, 7), bool), 0).all()


@pytest.mark.parametrize(("shape", "value"), [((10, 10), 255), ((30, 30), 128), ((1, 1), 255)])
def test_mask_that_does_not_fit_or_marks_nothing_is_refused(shape, value):
    with pytest.raises(ValueError):
        segment_picture(np.zeros((30, 30, 3), np.uint8), np.full(shape, value, np.uint8), 32)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([32, 64, 224]))
def test_image_fills_its_square_in_one_direction_and_keeps_its_proportions(height, width, side_px):
    left, top, inset_width, inset_height = inset_xywh((height, width), side_px)
    assert max(inset_width, inset_height) == side_px
    assert left >= 0 and top >= 0
    assert left + inset_width <= side_px and top + inset_height <= side_px
    assert abs(inset_width * height - inset_height * width) <= max(height, width)  # within half a pixel


@pytest.mark.parametrize("size_hw", [(60, 90), (90, 60), (40, 200)])
def test_what_is_found_in_the_square_comes_back_to_its_place(size_hw):
    height, width = size_hw
    image = np.zeros((*size_hw, 3), np.uint8)
    y, x = height // 4, 3 * width // 4
    image[y - 5 : y + 5, x - 5 : x + 5] = 255
    square = in_square(image, 64, grey=0)[..., 0].astype(np.float32)
    back = out_of_square(square, size_hw, 64)
    assert back.shape == size_hw and back.dtype == np.float32
    rows, columns = np.nonzero(back >= 0.5 * back.max())
    assert abs(rows.mean() - y) < 2 and abs(columns.mean() - x) < 2
