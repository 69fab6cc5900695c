"""The source stage with the real miniature model, without Ray."""

import numpy as np
import pytest

from tests.conftest import candidates
from xpaste_ray.config import load_settings
from xpaste_ray.stages.generate import GenerateStage

SETTINGS = load_settings("demo", ["source.steps=2", "source.unit_size=4"]).source


@pytest.fixture(scope="module")
def stage():
    return GenerateStage(SETTINGS, "mini@abc")


def test_every_candidate_gets_an_image_and_its_model(stage):
    done = stage(candidates(3))
    assert [c.image.shape for c in done] == [(64, 64, 3)] * 3
    assert {(c.status, c.model, c.image.dtype) for c in done} == {("ok", "mini@abc", np.dtype("uint8"))}


def test_image_does_not_depend_on_the_unit(stage):
    """Not on its neighbours, and not on how full the unit is: short units are padded."""
    full, short = stage(candidates(4)), stage(candidates(2)[1:])
    assert np.array_equal(full[1].image, short[0].image)


def test_candidate_that_raises_is_rejected_and_its_neighbours_survive(stage, monkeypatch):
    original = stage._model.generate

    def fail_on_seed_1(texts, seeds, *args):
        if 1 in seeds:
            raise RuntimeError("broken row")
        return original(texts, seeds, *args)

    untouched = stage(candidates(4))
    monkeypatch.setattr(stage._model, "generate", fail_on_seed_1)
    done = stage(candidates(4))
    assert [(c.status, c.reason) for c in done] == [
        ("ok", None), ("rejected", "generation_failed"), ("ok", None), ("ok", None),
    ]  # fmt: skip
    assert all(np.array_equal(done[i].image, untouched[i].image) for i in (0, 2, 3))


@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "nan_image"), (0.0, "black_image"), (0.5, "constant_image")]
)
def test_unusable_images_have_a_reason(stage, monkeypatch, value, reason):
    def generate(texts, *args):
        images = np.linspace(0, 1, 64 * 64 * 3).reshape(1, 64, 64, 3).repeat(len(texts), axis=0)
        images[0] = value
        return images

    monkeypatch.setattr(stage._model, "generate", generate)
    assert [c.reason for c in stage(candidates(2))] == [reason, None]
