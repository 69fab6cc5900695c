from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import CATEGORIES, disc, prompt
from xpaste_ray.config.classifier import CamSettings, ClipClassifier, FeatureSettings
from xpaste_ray.embedded.scenes import CLIP_STYLE, compose_scene
from xpaste_ray.errors import DeviceLost
from xpaste_ray.models.cam import activation_centre_yx, mean_distance
from xpaste_ray.models.segment_picture import segment_picture
from xpaste_ray.records import SCORE_NAMES, Candidate, Proposal
from xpaste_ray.rng import rng_for
from xpaste_ray.stages.classify import ClassifyStage

BANANA, FROG, LION = CATEGORIES


def _stage(categories=CATEGORIES):
    clip = ClipClassifier(kind="clip", model="embedded:clip")
    return ClassifyStage(clip, categories, CamSettings(), FeatureSettings())


@pytest.fixture(scope="module")
def stage():
    return _stage()


def _image(name="banana", number=0):
    return compose_scene(rng_for(number, "test-classify", name), name, CLIP_STYLE, 64)


def _candidate(category=BANANA, uri="a.jpg", shown="banana", number=0):
    """An image with its object's true mask, a corner, and a proposal that was rejected."""
    image, alpha = _image(shown, number)
    corner = np.zeros((64, 64), np.uint8)
    corner[50:, 50:] = 255
    masks = (np.rint(alpha * 255).astype(np.uint8), corner)
    proposals = [Proposal("true", i, mask, area_fraction=0.3) for i, mask in enumerate(masks)]
    refused = Proposal("true", 2, None, "rejected", "area_too_small")
    one = replace(prompt(category), uri=uri)
    return Candidate(one, image=image, proposals=(*proposals, refused))


def _scores(candidate, place=0):
    return dict(candidate.proposals[place].scores)


def test_usable_proposals_get_a_distance_a_score_and_a_feature(stage):
    (done,) = stage([_candidate()])
    whole, corner, refused = done.proposals
    assert done.status == "ok" and refused == _candidate().proposals[2]
    for proposal in (whole, corner):
        assert proposal.status == "ok" and proposal.embedding.dtype == np.float16
        assert proposal.embedding.shape == (128,)
        assert set(dict(proposal.scores)) == {"cam_distance", "class_score"} <= set(SCORE_NAMES)
        assert all(0 <= value <= 1 for _, value in proposal.scores)


def test_segment_of_the_category_scores_high_and_one_of_another_low(stage):
    (banana,), (frog,) = stage([_candidate()]), stage([_candidate(FROG)])
    assert _scores(banana)["class_score"] > 0.9 and _scores(frog)["class_score"] < 0.1


def test_figures_are_those_of_the_classifier_and_the_geometry(stage):
    candidate = _candidate()
    (done,) = stage([candidate])
    classifier, mask = stage._classifier, candidate.proposals[0].mask
    (cam,) = classifier.cams([candidate.image], [0])
    (looked,) = classifier.look([segment_picture(candidate.image, mask, 64, 0.02, 128)])
    centre = activation_centre_yx(cam, 0.5)
    assert _scores(done)["cam_distance"] == mean_distance(mask, centre)
    assert _scores(done)["class_score"] == float(looked.probabilities[0])
    assert np.array_equal(done.proposals[0].embedding, looked.feature.astype(np.float16))


def test_candidates_of_one_image_share_what_is_the_same_for_them(stage, monkeypatch):
    """Two categories: one forward of the image, one of each of its two segments; a map for each category."""
    calls = {"activations": 0, "look": 0, "cam": 0}
    for name in calls:
        original = getattr(stage._classifier, name)

        def counted(*args, name=name, original=original):
            calls[name] += 1
            return original(*args)

        monkeypatch.setattr(stage._classifier, name, counted)
    banana, frog = stage([_candidate(), _candidate(FROG)])
    assert calls == {"activations": 1, "look": 2, "cam": 2}
    assert np.array_equal(banana.proposals[0].embedding, frog.proposals[0].embedding)
    assert _scores(banana) != _scores(frog)


def test_images_of_different_uris_share_nothing(stage):
    one, other = _candidate(), _candidate(uri="b.jpg", number=1)
    assert _same(stage([one, other]), [*stage([one]), *stage([other])])


def _same(some, others):
    return all(
        a.scores == b.scores and (a.embedding is b.embedding or np.array_equal(a.embedding, b.embedding))
        for one, other in zip(some, others, strict=True)
        for a, b in zip(one.proposals, other.proposals, strict=True)
    )


def test_category_that_the_classifier_does_not_know_rejects_its_candidate():
    stage = _stage([BANANA, LION])
    known, unknown = stage([_candidate(), _candidate(FROG)])
    assert (known.status, unknown.status, unknown.reason) == ("ok", "rejected", "unknown_category")


def test_what_has_nothing_to_classify_passes_unchanged(stage):
    rejected = replace(_candidate(), status="rejected", reason="unreadable", image=None)
    none_usable = replace(_candidate(), proposals=_candidate().proposals[2:])
    first, second = stage([rejected, none_usable])
    assert first is rejected and second is none_usable


def test_mask_that_does_not_fit_is_rejected_and_its_neighbours_survive(stage):
    candidate = _candidate()
    odd = Proposal("odd", 0, np.full((1, 1), 255, np.uint8))
    (done,) = stage([replace(candidate, proposals=(odd, *candidate.proposals))])
    assert [one.reason for one in done.proposals] == ["classification_failed", None, None, "area_too_small"]


def test_figures_that_are_no_numbers_reject_a_proposal(stage, monkeypatch):
    original = stage._classifier.look

    def nan_first(pictures):
        looked = original(pictures)
        return [replace(one, feature=one.feature * np.nan) for one in looked]

    monkeypatch.setattr(stage._classifier, "look", nan_first)
    (done,) = stage([_candidate()])
    assert [one.reason for one in done.proposals[:2]] == ["nan_score", "nan_score"]
    assert all(one.embedding is None and one.scores == () for one in done.proposals)


def test_map_that_is_no_number_rejects_the_proposals_of_that_category_alone(stage, monkeypatch):
    original = stage._classifier.cam

    def nan_for_frog(activations, output, size_hw):
        return original(activations, output, size_hw) * (np.nan if output == 1 else 1)

    monkeypatch.setattr(stage._classifier, "cam", nan_for_frog)
    banana, frog = stage([_candidate(), _candidate(FROG)])
    assert [one.reason for one in banana.proposals[:2]] == [None, None]
    assert [one.reason for one in frog.proposals[:2]] == ["nan_score", "nan_score"]


def test_image_that_raises_rejects_its_proposals_and_no_others(stage, monkeypatch):
    bad = _candidate(uri="bad.jpg", number=1)
    original = stage._classifier.activations

    def fail(images):
        if any(image is bad.image for image in images):
            raise RuntimeError("broken row")
        return original(images)

    monkeypatch.setattr(stage._classifier, "activations", fail)
    good, broken = stage([_candidate(), bad])
    assert [one.reason for one in good.proposals[:2]] == [None, None]
    assert [one.reason for one in broken.proposals[:2]] == ["classification_failed"] * 2


@pytest.mark.parametrize("method", ["activations", "look", "cam"])
def test_no_memory_is_worth_another_try(stage, monkeypatch, method):
    def no_memory(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(stage._classifier, method, no_memory)
    (done,) = stage([_candidate()])
    assert done.transient and done.proposals[0].reason == "out_of_memory"


@pytest.mark.parametrize("method", ["activations", "look", "cam"])
def test_lost_gpu_ends_the_stage(stage, monkeypatch, method):
    def fail(*args):
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    monkeypatch.setattr(stage._classifier, method, fail)
    with pytest.raises(DeviceLost, match="uncorrectable ECC"):
        stage([_candidate()])


def test_nearer_segment_has_the_smaller_distance(stage, monkeypatch):
    """The map is a point in the middle: the disc there is nearer than the corner."""
    point = np.zeros((64, 64), np.float32)
    point[32, 32] = 1
    monkeypatch.setattr(stage._classifier, "cam", lambda *args: point)
    middle = Proposal("disc", 0, disc(64, 8).astype(np.uint8) * 255)
    candidate = _candidate()
    (done,) = stage([replace(candidate, proposals=(middle, candidate.proposals[1]))])
    near, far = (_scores(done, place)["cam_distance"] for place in (0, 1))
    assert near < 0.1 < 0.3 < far
