import numpy as np
import pytest

from xpaste_ray.embedded import CLIP_CATEGORIES, CLIP_DIR
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene
from xpaste_ray.models.clip import ClipModel
from xpaste_ray.rng import rng_for

NAMES = CLIP_CATEGORIES[:12]


@pytest.fixture(scope="module")
def model():
    return ClipModel(CLIP_DIR)


def _scene(name):
    return compose_scene(rng_for(0, "test-clip", name), name, DIFFUSION_STYLE, 64)[0]


def test_embeddings_are_unit_vectors(model):
    for embeddings in (model.embed_images([_scene("frog")]), model.embed_texts(["a photo of frog", "x"])):
        assert embeddings.dtype == np.float32
        assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_finds_the_category_of_plain_scenes(model):
    texts = model.embed_texts([f"a photo of {name.replace('_', ' ')}" for name in NAMES])
    logits = 100 * model.embed_images([_scene(name) for name in NAMES]) @ texts.T
    assert (logits.argmax(axis=1) == np.arange(len(NAMES))).mean() >= 0.9


def test_images_of_any_size_are_taken(model):
    images = [np.zeros((h, w, 3), np.uint8) for h, w in ((64, 64), (200, 100), (30, 31))]
    assert model.embed_images(images).shape == (3, 128)
