import numpy as np
import pytest

from xpaste_ray.embedded import DIFFUSION_DIR, SIDE_PX
from xpaste_ray.models.diffusion import DiffusionModel

TEXTS = ["a photo of a single banana", "a photo of a single frog", "a photo of a single lion"]


@pytest.fixture(scope="module")
def model():
    return DiffusionModel(DIFFUSION_DIR, "float32")


def test_one_image_a_text(model):
    images = model.generate(TEXTS, [1, 2, 3], steps=2, guidance_scale=3.0)
    assert images.shape == (3, SIDE_PX, SIDE_PX, 3)
    assert images.dtype == np.float32 and images.min() >= 0 and images.max() <= 1


def test_image_does_not_depend_on_its_neighbours(model):
    """In one batch shape: not on the other members, and not on the place in the batch."""
    first = model.generate(TEXTS, [1, 2, 3], steps=2, guidance_scale=3.0)
    second = model.generate([TEXTS[2], TEXTS[1], TEXTS[1]], [9, 8, 2], steps=2, guidance_scale=3.0)
    assert np.array_equal(first[1], second[2])


def test_seed_matters(model):
    images = model.generate([TEXTS[0]] * 2, [1, 2], steps=2, guidance_scale=3.0)
    assert not np.array_equal(images[0], images[1])
