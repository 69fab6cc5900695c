import cv2
import numpy as np

from tests.conftest import disc
from xpaste_ray.models.grabcut import grabcut_mask


def _image():
    rng = np.random.default_rng(0)
    image = rng.integers(200, 230, (64, 64, 3)).astype(np.uint8)
    image[disc(64, 18)] = rng.integers(20, 90, (int(disc(64, 18).sum()), 3))
    return image


def test_finds_a_disc_on_a_plain_background():
    found = grabcut_mask(_image(), border_px=2, iterations=5, seed=1) > 128
    truth = disc(64, 18)
    assert (found & truth).sum() / (found | truth).sum() > 0.97


def test_does_not_depend_on_opencvs_global_generator():
    cv2.setRNGSeed(1)
    first = grabcut_mask(_image(), 2, 5, seed=9)
    cv2.setRNGSeed(2)
    assert np.array_equal(first, grabcut_mask(_image(), 2, 5, seed=9))


def test_edge_is_soft_over_one_pixel():
    assert set(np.unique(grabcut_mask(_image(), 2, 5, seed=1))) > {0, 255}
