import numpy as np
import pytest

from xpaste_ray.models.views import view_of

IMAGE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
MASK = np.zeros((4, 5), np.uint8)
MASK[1, 2], MASK[2, 3], MASK[3, 4] = 255, 129, 128  # the last one is no object


@pytest.mark.parametrize(("view", "outside"), [("white", 255), ("black", 0)])
def test_outside_of_the_mask_is_painted_in_full_frame(view, outside):
    shown = view_of(view, IMAGE, MASK)
    assert shown.shape == IMAGE.shape
    kept = {(1, 2), (2, 3)}
    for place in np.ndindex(4, 5):
        assert np.array_equal(shown[place], IMAGE[place] if place in kept else (outside,) * 3)


def test_crop_is_the_masks_tight_box_with_all_that_is_in_it():
    assert np.array_equal(view_of("crop", IMAGE, MASK), IMAGE[1:3, 2:4])


def test_image_is_the_image():
    assert view_of("image", IMAGE, MASK) is IMAGE


def test_nothing_is_written_into_the_image():
    image = IMAGE.copy()
    image.flags.writeable = False  # as it comes out of Arrow
    for view in ("white", "black", "crop", "image"):
        view_of(view, image, MASK)


@pytest.mark.parametrize("shape", [(5, 4), (1, 5), (4, 1), (1, 1)])
def test_mask_of_another_size_is_refused_though_numpy_would_stretch_it(shape):
    with pytest.raises(ValueError, match="does not fit"):
        view_of("white", IMAGE, np.zeros(shape, np.uint8))


def test_nothing_can_be_cropped_by_an_empty_mask():
    with pytest.raises(ValueError, match="marks nothing"):
        view_of("crop", IMAGE, np.full((4, 5), 128, np.uint8))
