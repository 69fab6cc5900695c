import cv2
import numpy as np

from tests.conftest import disc
from xpaste_ray.config.segment import GrabCutMethod
from xpaste_ray.models.grabcut import GrabCutSegmenter, grabcut_mask
from xpaste_ray.models.segmenters import Shown


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


def test_segmenter_gives_the_mask_in_0_to_1_without_a_loss():
    """What it draws follows from the candidate: the same one, the same mask."""
    segmenter = GrabCutSegmenter(GrabCutMethod(kind="grabcut"))
    ((soft,), (again,)) = segmenter([Shown("a", "disc", _image()), Shown("a", "disc", _image())])
    assert soft.mask.dtype == np.float32 and soft.mask.max() == 1
    assert np.array_equal(soft.mask, again.mask)
    in_bytes = np.rint(soft.mask * 255)
    assert np.array_equal(in_bytes, grabcut_mask(_image(), 2, 5, seed=1))  # a plain disc: any seed finds it
