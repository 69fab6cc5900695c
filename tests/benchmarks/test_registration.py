"""An object is found where it was put."""

import numpy as np
import pytest

from benchmarks.registration import Pose, coarse_fits, grid_poses, place, register, unexplained
from benchmarks.true_masks import iou
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene
from xpaste_ray.rng import rng_for

UPRIGHT = Pose(flipped=False, angle_deg=0, scale=0.7, centre_xy=(0.5, 0.5))


def _picture(rgba, background):
    """(S, S, 3) uint8."""
    return np.rint(255 * (rgba[..., :3] + (1 - rgba[..., 3:]) * background)).astype(np.uint8)


def _best(picture, name):
    return register(picture, name, coarse_fits(picture[None], name)[0])


def test_an_object_is_as_long_as_its_scale_says():
    rows = np.flatnonzero((place("violin", UPRIGHT, 64)[..., 3] > 0.5).any(axis=1))
    assert 0.7 * 64 - 2 <= np.ptp(rows) + 1 <= 0.7 * 64 + 1


def test_poses_of_the_grid_are_those_of_the_generator():
    low, high = DIFFUSION_STYLE.object_scale
    for pose in grid_poses():
        assert abs(pose.angle_deg) <= DIFFUSION_STYLE.max_rotation_deg
        assert low - 0.03 <= pose.scale <= high + 0.03


def test_the_object_itself_explains_its_picture_in_any_light_and_shade():
    rgba = place("teapot", UPRIGHT, 64)
    shade = np.linspace(0.7, 0.9, 64, dtype=np.float32)[:, None, None]
    assert unexplained(rgba[..., :3] + (1 - rgba[..., 3:]) * shade, rgba) < 1e-3
    assert unexplained(0.8 * rgba[..., :3] + (1 - rgba[..., 3:]) * shade, rgba) < 1e-3


def test_another_object_explains_less():
    rgba = place("teapot", UPRIGHT, 64)
    picture = _picture(rgba, 0.9)
    assert _best(picture, "teapot").unexplained < 0.01 < 0.1 < _best(picture, "banana").unexplained


@pytest.mark.parametrize("name", ["banana", "frog", "violin", "umbrella"])
def test_rendered_scenes_are_registered(name):
    for i in range(2):
        picture, alpha = compose_scene(rng_for(7, "test", name, i), name, DIFFUSION_STYLE, 64)
        assert iou(_best(picture, name).alpha > 0.5, alpha > 0.5) > 0.9
