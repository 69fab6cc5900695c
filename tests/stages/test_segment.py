from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import candidates, disc
from xpaste_ray.config import load_settings
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene
from xpaste_ray.errors import DeviceLost
from xpaste_ray.rng import rng_for
from xpaste_ray.stages import segment
from xpaste_ray.stages.segment import SegmentStage

STAGE = SegmentStage(load_settings("demo").segment)


def _with_images(count):
    made = []
    for candidate in candidates(count):
        image, _ = compose_scene(
            rng_for(0, "test-segment", candidate.prompt.seed), candidate.prompt.category, DIFFUSION_STYLE, 64
        )
        made.append(replace(candidate, image=image))
    return made


def test_every_image_gets_a_proposal():
    for candidate in STAGE(_with_images(3)):
        (proposal,) = candidate.proposals
        assert (proposal.method, proposal.ordinal, proposal.status) == ("grabcut", 0, "ok")
        assert proposal.mask.shape == (64, 64) and proposal.mask.dtype == np.uint8
        assert proposal.area_fraction == pytest.approx((proposal.mask > 128).mean())


def test_mask_does_not_depend_on_the_neighbours():
    images = _with_images(3)
    assert np.array_equal(STAGE(images)[2].proposals[0].mask, STAGE(images[2:])[0].proposals[0].mask)


def test_rejected_candidates_pass_unchanged():
    rejected = replace(candidates(1)[0], status="rejected", reason="black_image")
    assert STAGE([rejected]) == [rejected]


def test_failure_rejects_the_proposal_and_spares_the_neighbours(monkeypatch):
    def fail_on_white(image, *args):
        if image.min() == 255:
            raise RuntimeError("broken")
        return (disc(64, 10) * 255).astype(np.uint8)

    monkeypatch.setattr(segment, "grabcut_mask", fail_on_white)
    images = _with_images(2)
    images[0] = replace(images[0], image=np.full((64, 64, 3), 255, np.uint8))
    outcomes = [(p.status, p.reason) for c in STAGE(images) for p in c.proposals]
    assert outcomes == [("rejected", "segmentation_failed"), ("ok", None)]


def test_plain_image_has_an_empty_mask_and_a_reason():
    plain = replace(candidates(1)[0], image=np.full((64, 64, 3), 255, np.uint8))
    (proposal,) = STAGE([plain])[0].proposals
    assert (proposal.status, proposal.reason) in {
        ("rejected", "empty_mask"), ("rejected", "segmentation_failed"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "reason", "transient"),
    [("CUDA error: out of memory", "out_of_memory", True), ("bad mask", "segmentation_failed", False)],
)
def test_only_what_may_pass_is_worth_another_try(monkeypatch, message, reason, transient):
    def fail(*args):
        raise RuntimeError(message)

    monkeypatch.setattr(segment, "grabcut_mask", fail)
    (done,) = STAGE(_with_images(1))
    assert (done.status, done.transient, done.proposals[0].reason) == ("ok", transient, reason)


def test_lost_gpu_ends_the_stage(monkeypatch):
    def fail(*args):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(segment, "grabcut_mask", fail)
    with pytest.raises(DeviceLost, match="unspecified launch failure"):
        STAGE(_with_images(2))
