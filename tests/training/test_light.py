import numpy as np

from xpaste_ray.config import LightSettings
from xpaste_ray.rng import rng_for
from xpaste_ray.training.light import relit

GREY = np.full((4, 4, 3), 100, np.uint8)


def test_no_light_changes_nothing():
    off = LightSettings(brightness=0, contrast=0)
    assert relit(GREY, rng_for(0, "a"), off) is GREY
    assert relit(GREY, rng_for(0, "a"), LightSettings(probability=0)) is GREY


def test_brightness_stays_in_its_range_and_contrast_about_the_mean():
    """A plain image has no contrast to change: 100 becomes 80 to 120 by brightness alone."""
    settings = LightSettings(brightness=0.2, contrast=0.5, probability=1)
    values = {int(relit(GREY, rng_for(0, "a", i), settings)[0, 0, 0]) for i in range(200)}
    assert min(values) >= 80 and max(values) <= 120 and len(values) > 30
    two = np.array([[[50] * 3, [150] * 3]], np.uint8)
    only = LightSettings(brightness=0, contrast=0.5, probability=1)
    for i in range(50):
        dark, bright = relit(two, rng_for(0, "b", i), only)[0, :, 0].astype(int)
        assert dark + bright == 200 and 25 <= dark <= 75


def test_half_of_all_images_are_changed_by_each():
    settings = LightSettings(brightness=0.5, contrast=0)
    changed = [relit(GREY, rng_for(1, "c", i), settings) is not GREY for i in range(400)]
    assert 0.4 < np.mean(changed) < 0.6
