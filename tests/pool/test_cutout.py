import numpy as np
import pytest

from tests.conftest import disc
from xpaste_ray.config import CutoutSettings
from xpaste_ray.errors import RowError
from xpaste_ray.pool.cutout import cut_out


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
