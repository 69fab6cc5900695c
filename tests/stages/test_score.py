from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import candidates
from xpaste_ray.config import load_settings
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene
from xpaste_ray.errors import DeviceLost
from xpaste_ray.records import Proposal
from xpaste_ray.rng import rng_for
from xpaste_ray.stages.score import ScoreStage, on_white


@pytest.fixture(scope="module")
def stage():
    return ScoreStage(load_settings("demo", ["score.micro_batch=4"]).score)


def _masked(count, shown=None):
    """Candidates with a scene of their category (or of `shown`) and its true mask."""
    made = []
    for candidate in candidates(count):
        image, alpha = compose_scene(
            rng_for(0, "test-score", candidate.prompt.seed),
            shown or candidate.prompt.category,
            DIFFUSION_STYLE,
            64,
        )
        mask = np.rint(alpha * 255).astype(np.uint8)
        made.append(
            replace(candidate, image=image, proposals=(Proposal("true", 0, mask, area_fraction=0.3),))
        )
    return made


def _logits(candidates):
    return [dict(c.proposals[0].scores)["clip_logit"] for c in candidates]


def test_right_category_scores_far_above_a_wrong_one(stage):
    right, wrong = _logits(stage(_masked(3))), _logits(stage(_masked(3, shown="umbrella")))
    assert min(right) > max(wrong) + 10


def test_embedding_is_kept_as_float16(stage):
    embedding = stage(_masked(1))[0].proposals[0].embedding
    assert embedding.dtype == np.float16 and embedding.shape == (128,)


def test_score_does_not_depend_on_the_neighbours(stage):
    five = _masked(5)
    assert _logits(stage(five))[4] == _logits(stage(five[4:]))[0]


def test_image_that_raises_is_rejected_and_its_neighbours_survive(stage, monkeypatch):
    three = _masked(3)
    expected = _logits(stage(three))
    original, broken = stage._model.embed_images, on_white(three[1].image, three[1].proposals[0].mask)

    def fail_on_broken(images):
        if any(np.array_equal(image, broken) for image in images):
            raise RuntimeError("broken row")
        return original(images)

    monkeypatch.setattr(stage._model, "embed_images", fail_on_broken)
    done = stage(three)
    assert [c.proposals[0].reason for c in done] == [None, "scoring_failed", None]
    assert _logits([done[0], done[2]]) == [expected[0], expected[2]]


def test_out_of_memory_halves_the_micro_batch_for_good(monkeypatch):
    stage = ScoreStage(load_settings("demo", ["score.micro_batch=4"]).score)
    expected = _logits(stage(_masked(5)))
    original, sizes = stage._model.embed_images, []

    def fits_two(images):
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return original(images)

    monkeypatch.setattr(stage._model, "embed_images", fits_two)
    done = stage(_masked(5))
    assert sizes == [4, 2, 2, 2]
    assert all(c.degraded_shape and not c.transient for c in done)
    assert _logits(done) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("method", ["embed_images", "embed_texts"])
def test_no_memory_at_all_is_worth_another_try(monkeypatch, method):
    stage = ScoreStage(load_settings("demo", ["score.micro_batch=4"]).score)
    with monkeypatch.context() as patch:

        def no_memory(rows):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

        patch.setattr(stage._model, method, no_memory)
        done = stage(_masked(2))
    assert [(c.status, c.transient, c.proposals[0].reason) for c in done] == [
        ("ok", True, "out_of_memory")
    ] * 2
    assert [c.proposals[0].reason for c in stage(_masked(2))] == [None] * 2  # a failed text is not kept


def test_lost_gpu_ends_the_stage(stage, monkeypatch):
    def fail(images):
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    monkeypatch.setattr(stage._model, "embed_images", fail)
    with pytest.raises(DeviceLost, match="uncorrectable ECC"):
        stage(_masked(2))


def test_mask_that_does_not_fit_is_rejected_and_its_neighbours_survive(stage):
    two = _masked(2)
    odd = Proposal("true", 0, np.zeros((3, 3), np.uint8))
    done = stage([replace(two[0], proposals=(odd,)), two[1]])
    assert [c.proposals[0].reason for c in done] == ["scoring_failed", None]


def test_rejected_proposals_pass_unchanged(stage):
    candidate = replace(_masked(1)[0], proposals=(Proposal("m", 0, None, "rejected", "segmentation_failed"),))
    assert stage([candidate]) == [candidate]


def test_outside_of_the_mask_is_white():
    image, mask = np.full((2, 2, 3), 7, np.uint8), np.array([[255, 129], [128, 0]], np.uint8)
    assert on_white(image, mask)[..., 0].tolist() == [[7, 7], [255, 255]]
