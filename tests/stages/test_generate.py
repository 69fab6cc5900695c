"""The source stage with the real miniature model, without Ray."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import candidates
from xpaste_ray.config import load_settings
from xpaste_ray.errors import ConfigError, DeviceLost
from xpaste_ray.models.diffusion import Picture
from xpaste_ray.stages.generate import GenerateStage

SMALL = ["sources.diffusion.steps=2", "sources.diffusion.unit_size=4"]
SETTINGS = load_settings("demo", SMALL).sources["diffusion"]
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of ..."


@pytest.fixture
def stage():
    return GenerateStage(SETTINGS, "mini@abc")


def _outcomes(done):
    return [(c.status, c.reason) for c in done]


def test_every_candidate_gets_an_image_and_its_model(stage):
    done = stage(candidates(3))
    assert [c.image.shape for c in done] == [(64, 64, 3)] * 3
    assert {(c.status, c.model, c.image.dtype) for c in done} == {("ok", "mini@abc", np.dtype("uint8"))}
    assert not any(c.degraded_shape or c.transient for c in done)


def test_image_does_not_depend_on_the_unit(stage):
    """Not on its neighbours, and not on how full the unit is: short units are padded."""
    full, short = stage(candidates(4)), stage(candidates(2)[1:])
    assert np.array_equal(full[1].image, short[0].image)


def test_candidate_that_raises_is_rejected_and_its_neighbours_survive(stage, monkeypatch):
    original = stage._model.generate

    def fail_on_seed_1(texts, seeds):
        if 1 in seeds:
            raise RuntimeError("broken row")
        return original(texts, seeds)

    untouched = stage(candidates(4))
    monkeypatch.setattr(stage._model, "generate", fail_on_seed_1)
    done = stage(candidates(4))
    assert _outcomes(done) == [
        ("ok", None), ("rejected", "generation_failed"), ("ok", None), ("ok", None),
    ]  # fmt: skip
    assert all(np.array_equal(done[i].image, untouched[i].image) for i in (0, 2, 3))
    assert not done[1].transient and not done[0].degraded_shape


def test_out_of_memory_halves_the_batch_for_good(stage, monkeypatch):
    original, sizes = stage._model.generate, []

    def fits_two(texts, seeds):
        sizes.append(len(texts))
        if len(texts) > 2:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return original(texts, seeds)

    usual = stage(candidates(4))
    monkeypatch.setattr(stage._model, "generate", fits_two)
    first, second = stage(candidates(4)), stage(candidates(3))
    assert sizes == [4, 2, 2, 2, 2]  # the lower cap is remembered, and short batches are padded to it
    assert _outcomes(first) == [("ok", None)] * 4
    assert all(c.degraded_shape and not c.transient for c in (*first, *second))
    for one, other in zip(first, usual, strict=True):  # another shape rounds differently, by little
        assert np.abs(one.image.astype(int) - other.image).max() <= 2
    assert np.array_equal(second[2].image, first[2].image)  # in one shape nothing moves


def test_row_that_does_not_fit_alone_is_rejected_and_worth_another_try(stage, monkeypatch):
    original = stage._model.generate

    def never_seed_1(texts, seeds):
        if 1 in seeds:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return original(texts, seeds)

    monkeypatch.setattr(stage._model, "generate", never_seed_1)
    done = stage(candidates(3))
    assert _outcomes(done) == [("ok", None), ("rejected", "out_of_memory"), ("ok", None)]
    assert [c.transient for c in done] == [False, True, False]


@pytest.mark.parametrize("error", [DeviceLost, ConfigError])
def test_lost_gpu_and_wrong_option_are_no_rows_fault(stage, monkeypatch, error):
    calls = []

    def fail(texts, seeds):
        calls.append(texts)
        if error is DeviceLost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors ...")
        raise ConfigError("sources.diffusion.model: no")

    monkeypatch.setattr(stage._model, "generate", fail)
    with pytest.raises(error):
        stage(candidates(4))
    assert len(calls) == 1  # nothing more is tried on a broken device


def _picture(value):
    image = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    return {
        "good": Picture(image, True, False),
        "nan": Picture(image, False, False),
        "black": Picture(np.zeros_like(image), True, False),
        "constant": Picture(np.full_like(image, 128), True, False),
        "flagged": Picture(np.zeros_like(image), True, True),
    }[value]


REASONS = {
    "nan": "nan_image",
    "black": "black_image",
    "constant": "constant_image",
    "flagged": "unsafe_image",
}


@pytest.mark.parametrize("kind", REASONS)
def test_unusable_images_have_a_reason(stage, monkeypatch, kind):
    """In float32 at once: the same numbers would come out again."""
    monkeypatch.setattr(
        stage._model, "generate", lambda texts, seeds: [_picture(kind if s == 0 else "good") for s in seeds]
    )
    monkeypatch.setattr(stage._model, "generate_in_float32", lambda *given: pytest.fail("made twice"))
    done = stage(candidates(2))
    assert [c.reason for c in done] == [REASONS[kind], None]
    assert (done[0].image is None) == (kind == "nan")


@pytest.fixture(scope="module")
def half():
    return GenerateStage(SETTINGS.model_copy(update={"dtype": "bfloat16"}), "mini@abc")


@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize("cured", [True, False])
def test_image_that_breaks_down_in_half_precision_is_made_once_more(half, monkeypatch, kind, cured):
    precise = []

    def in_float32(texts, seeds):
        precise.append(seeds)
        return [_picture("good" if cured else kind)] * len(texts)

    monkeypatch.setattr(
        half._model, "generate", lambda texts, seeds: [_picture(kind if s == 1 else "good") for s in seeds]
    )
    monkeypatch.setattr(half._model, "generate_in_float32", in_float32)
    reasons = [c.reason for c in half(candidates(3))]
    if kind == "flagged":  # a verdict, not a breakdown
        assert precise == [] and reasons == [None, "unsafe_image", None]
    else:
        assert precise == [[1, 1, 1, 1]]  # once, and padded
        assert reasons == [None, None if cured else REASONS[kind], None]


def test_retry_really_computes_in_float32(half, monkeypatch):
    """The network yields NaN in half precision: the second attempt must not."""
    unet = half._model._pipeline.unet

    def nan_in_half(module, args, output):
        return tuple(part if part.dtype == torch.float32 else part * torch.nan for part in output)

    hook = unet.register_forward_hook(nan_in_half)
    try:
        done = half(candidates(2))
    finally:
        hook.remove()
    assert _outcomes(done) == [("ok", None)] * 2
    assert unet.dtype == torch.bfloat16  # and goes on in half precision


def test_out_of_memory_in_the_retry_leaves_the_usual_batch(half, monkeypatch):
    def too_large(texts, seeds):
        raise torch.OutOfMemoryError(OUT_OF_MEMORY)

    with monkeypatch.context() as patch:
        patch.setattr(half._model, "generate", lambda texts, seeds: [_picture("nan")] * len(texts))
        patch.setattr(half._model, "generate_in_float32", too_large)
        done = half(candidates(2))
    assert [(c.reason, c.transient) for c in done] == [("out_of_memory", True)] * 2
    assert not any(c.degraded_shape for c in half(candidates(4)))


def test_gpu_that_is_not_there_is_a_wrong_option():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match="device 'cuda': torch finds no usable GPU"):
        GenerateStage(SETTINGS, "mini@abc", device="cuda")


def test_candidates_keep_what_the_stage_does_not_know(stage):
    marked = replace(candidates(1)[0], content_hash="c0ffee")
    assert stage([marked])[0].content_hash == "c0ffee"
