import numpy as np
import pytest

from xpaste_ray.embedded import CLIP_CATEGORIES, DIFFUSION_CATEGORIES
from xpaste_ray.embedded.scenes import CLIP_STYLE, DIFFUSION_STYLE, compose_scene, object_names
from xpaste_ray.rng import rng_for


def test_shipped_objects_cover_the_models_vocabulary():
    assert len(object_names()) == 236
    assert set(DIFFUSION_CATEGORIES) <= set(CLIP_CATEGORIES) <= set(object_names())
    assert len(DIFFUSION_CATEGORIES) >= 24 and len(set(CLIP_CATEGORIES)) == len(CLIP_CATEGORIES)


@pytest.mark.parametrize("style", [DIFFUSION_STYLE, CLIP_STYLE])
def test_scene_follows_its_key(style):
    first, second = (compose_scene(rng_for(0, "s", 1), "frog", style, 64) for _ in range(2))
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], compose_scene(rng_for(0, "s", 2), "frog", style, 64)[0])


@pytest.mark.parametrize("name", DIFFUSION_CATEGORIES)
def test_object_lies_wholly_inside_and_is_not_small(name):
    image, alpha = compose_scene(rng_for(0, "s", name), name, DIFFUSION_STYLE, 64)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    assert border.max() < 0.5 and 0.05 < (alpha > 0.5).mean() < 0.7
