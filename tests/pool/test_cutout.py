import numpy as np
import pytest

from tests.conftest import disc
from xpaste_ray.config import CutoutSettings
from xpaste_ray.errors import RowError
from xpaste_ray.pool.cutout import crop_cutout, cut_out


def test_cut_to_the_tight_box_with_its_place_in_the_source():
    image, mask = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), np.uint8)
    image[5:11, 8:12], mask[5:11, 8:12] = 77, 255
    cutout = cut_out(image, mask, CutoutSettings())
    assert cutout.source_box_xywh == (8, 5, 4, 6)
    assert (
        cutout.rgba.shape[:2] == (6, 4)
        and (cutout.rgba[..., 3] == 255).all()
        and (cutout.rgba[..., :3] == 77).all()
    )


def test_longer_side_is_bounded():
    image, mask = np.zeros((40, 40, 3), np.uint8), (disc(40, 15) * 255).astype(np.uint8)
    mask[:15] = 0
    cutout = cut_out(image, mask, CutoutSettings(max_side_px=10))
    assert max(cutout.rgba.shape[:2]) == 10
    assert cutout.rgba.shape[:2][1] / cutout.rgba.shape[:2][0] == pytest.approx(30 / 20, rel=0.2)


def test_no_background_colour_stays_under_the_soft_edge():
    mask = (disc(30, 10) * 255).astype(np.uint8)
    mask[disc(30, 11) & (mask == 0)] = 80
    image = np.where(mask[..., None] == 255, np.uint8(9), np.uint8(255)).repeat(3, axis=2)
    cutout = cut_out(image, mask, CutoutSettings())
    assert (cutout.rgba[..., 3] == 80).any() and (cutout.rgba[..., :3] == 9).all()


@pytest.mark.parametrize(("height", "reason"), [(0, "empty_mask"), (1, "cutout_too_small")])
def test_unusable_masks_have_a_reason(height, reason):
    mask = np.zeros((10, 10), np.uint8)
    mask[4 : 4 + height, 2:8] = 255
    with pytest.raises(RowError) as error:
        cut_out(np.zeros((10, 10, 3), np.uint8), mask, CutoutSettings())
    assert error.value.reason == reason


@pytest.mark.parametrize("rule", ["outer-contour", "component"])
def test_fault_12_an_empty_contour_is_a_reason_and_no_crash(rule):
    for mask in (np.zeros((9, 9), np.uint8), np.full((9, 9), 128, np.uint8)):
        with pytest.raises(RowError, match="empty_mask"):
            cut_out(np.zeros((9, 9, 3), np.uint8), mask, CutoutSettings(object=rule))


@pytest.mark.parametrize("rule", ["outer-contour", "component"])
def test_b3_alpha_of_extremes(rule):
    """All 255 is the whole image (of the segmenter `full`); 1 px is too small."""
    image, settings = np.full((9, 12, 3), 7, np.uint8), CutoutSettings(object=rule)
    whole = cut_out(image, np.full((9, 12), 255, np.uint8), settings)
    assert whole.source_box_xywh == (0, 0, 12, 9) and (whole.rgba == (7, 7, 7, 255)).all()
    pixel = np.zeros((9, 12), np.uint8)
    pixel[4, 4] = 255
    with pytest.raises(RowError, match="cutout_too_small"):
        cut_out(image, pixel, settings)


def test_what_shrinking_leaves_nothing_opaque_of_is_too_small():
    """A frame of 1 px, 400 px wide, at an eighth of its size: no pixel of it would reach a mask."""
    mask = np.zeros((400, 400), np.uint8)
    mask[[0, -1]] = mask[:, [0, -1]] = 255
    with pytest.raises(RowError, match="cutout_too_small"):
        cut_out(np.zeros((400, 400, 3), np.uint8), mask, CutoutSettings(max_side_px=50))


def test_objects_are_what_the_setting_says():
    """A ring with an island in its hole: all of it, or the ring alone."""
    mask = np.zeros((20, 20), np.uint8)
    mask[2:14, 2:14] = 255
    mask[5:11, 5:11] = 0
    mask[7:9, 7:9] = 255
    image, areas = np.zeros((20, 20, 3), np.uint8), {}
    for rule in ("outer-contour", "component"):
        areas[rule] = (cut_out(image, mask, CutoutSettings(object=rule)).rgba[..., 3] > 0).sum()
    assert areas == {"outer-contour": 144 - 36 + 4, "component": 144 - 36}


def test_line_of_one_pixel_with_a_soft_fringe_is_too_small():
    """Its tight box, fringe included, is three pixels wide; what is more than half there is one."""
    alpha = np.zeros((40, 20), np.uint8)
    alpha[5:35, 9:12] = 60, 255, 60
    with pytest.raises(RowError, match="cutout_too_small"):
        crop_cutout(np.zeros((40, 20, 3), np.uint8), alpha, 256)
