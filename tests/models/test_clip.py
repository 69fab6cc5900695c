import json
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from xpaste_ray.embedded import CLIP_CATEGORIES, CLIP_DIR
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.clip import ClipModel
from xpaste_ray.models.clip_config import embedding_dim
from xpaste_ray.rng import rng_for

NAMES = CLIP_CATEGORIES[:12]


@pytest.fixture(scope="module")
def model():
    return ClipModel(CLIP_DIR)


def _scene(name):
    return compose_scene(rng_for(0, "test-clip", name), name, DIFFUSION_STYLE, 64)[0]


def _logits(model):
    texts = model.embed_texts([f"a photo of {name.replace('_', ' ')}" for name in NAMES])
    return 100 * model.embed_images([_scene(name) for name in NAMES]) @ texts.T


def test_embeddings_are_unit_vectors(model):
    for embeddings in (model.embed_images([_scene("frog")]), model.embed_texts(["a photo of frog", "x"])):
        assert embeddings.dtype == np.float32
        assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("resize", ["pil", "tensor"])
def test_finds_the_category_of_plain_scenes(resize):
    logits = _logits(ClipModel(CLIP_DIR, resize=resize))
    assert (logits.argmax(axis=1) == np.arange(len(NAMES))).mean() >= 0.9


@pytest.mark.parametrize(("dtype", "apart"), [("bfloat16", 3.0), ("float16", 0.5)])
def test_half_precision_computes_nearly_the_same_and_hands_on_float32(model, dtype, apart):
    """8 bits of mantissa, and 11; normalised in float32, so the cosine loses nothing more."""
    half = ClipModel(CLIP_DIR, dtype=dtype)
    assert half.embed_images([_scene("frog")]).dtype == np.float32
    assert 0 < np.abs(_logits(half) - _logits(model)).max() < apart


@pytest.mark.parametrize("resize", ["pil", "tensor"])
def test_images_of_any_size_are_taken(resize):
    images = [np.zeros((h, w, 3), np.uint8) for h, w in ((64, 64), (200, 100), (30, 31), (1, 1), (3, 1000))]
    assert ClipModel(CLIP_DIR, resize=resize).embed_images(images).shape == (5, 128)


def test_long_line_takes_no_more_memory_than_another_image(model):
    """Resized by its shorter side, 1 x 60,000 pixels would be 64 x 3,840,000: 737 MB."""
    line = np.zeros((1, 60_000, 3), np.uint8)
    line[:, 29_996:30_004] = 255
    model.prepare(line[:, :100])
    with _at_most_more(300e6):
        assert (model.prepare(line) > 1).all()  # white, as its middle is


@contextmanager
def _at_most_more(more_bytes):
    """This process may take that much more memory than it has now; MemoryError if it asks for more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + int(more_bytes), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_what_the_centre_crop_sees_of_a_long_image_does_not_change(model):
    long = np.tile(_scene("frog"), (1, 9, 1))
    assert torch.equal(model.prepare(long), model.prepare(long[:, 64:-64]))


def test_inputs_are_the_models_own_size_mean_and_deviation(tmp_path):
    folder = shutil.copytree(CLIP_DIR, tmp_path / "model")
    told = json.loads((folder / "open_clip_config.json").read_text())
    told["preprocess_cfg"] |= {"mean": [0.5, 0.25, 0.0], "std": [0.5, 0.25, 1.0]}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    for resize in ("pil", "tensor"):
        white = ClipModel(folder, resize=resize).prepare(np.full((80, 90, 3), 255, np.uint8))
        assert white.shape == (3, 64, 64)
        assert white[:, 5, 5].tolist() == pytest.approx([1.0, 3.0, 1.0])


def test_length_of_an_embedding_is_read_without_the_model(model, tmp_path):
    assert embedding_dim(CLIP_DIR, "score.model") == model.embed_texts(["x"]).shape[1] == 128
    (tmp_path / "open_clip_config.json").write_text('{"architectures": ["CLIPModel"]}')
    with pytest.raises(ConfigError, match=r"score.model: .*open_clip_config.json has no model_cfg.embed_dim"):
        embedding_dim(tmp_path, "score.model")


@pytest.mark.parametrize(
    ("name", "value"),
    [("tokenizer_kwargs", {"trust_remote_code": True}), ("hf_model_name", "owner/text-tower")],
)
def test_folder_that_would_run_code_or_ask_the_hub_is_refused(tmp_path, name, value):
    """H11: open_clip hands a folder's own options on to transformers, and so would a name of the Hub."""
    folder = shutil.copytree(CLIP_DIR, tmp_path / "clip")
    file = folder / "open_clip_config.json"
    told = json.loads(file.read_text())
    told["model_cfg"]["text_cfg"][name] = value
    file.write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=f"score.model: .* has text_cfg.{name}, which lets open_clip fetch"):
        ClipModel(folder)
