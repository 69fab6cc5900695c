from dataclasses import replace

import numpy as np
import pytest

from xpaste_ray.config.contexts import ContextScoreSettings
from xpaste_ray.embedded.scenes import DIFFUSION_STYLE, compose_scene
from xpaste_ray.records import SCORE_NAMES, Candidate, Prompt
from xpaste_ray.rng import rng_for
from xpaste_ray.stages.score_contexts import METHOD, ContextScoreStage

SETTINGS = ContextScoreSettings(model="embedded:clip", micro_batch=4, threads=1)
CLASSES = ("a photo of banana", "a photo of frog")


@pytest.fixture(scope="module")
def stage():
    return ContextScoreStage(SETTINGS, CLASSES)


def shown(number, category, text):
    image, _ = compose_scene(rng_for(0, "test-contexts", number), category, DIFFUSION_STYLE, 64)
    prompt = Prompt(f"c-{number}", 0, "context", number, "diffusion", text, 7)
    return Candidate(prompt, image=image)


def scores(candidate):
    (proposal,) = candidate.proposals
    return dict(proposal.scores)


def test_image_that_fits_its_caption_and_shows_no_target(stage):
    right, wrong = stage(
        [shown(0, "umbrella", "a photo of a single umbrella"), shown(1, "banana", "an umbrella")]
    )
    assert scores(right)["caption_logit"] > scores(wrong)["caption_logit"] + 10
    assert scores(right)["class_logit"] < scores(wrong)["class_logit"] - 10
    assert set(scores(right)) <= set(SCORE_NAMES)


def test_class_score_is_the_highest_of_the_classes(stage):
    image = shown(0, "frog", "a frog")
    singles = [scores(ContextScoreStage(SETTINGS, [text])([image])[0])["class_logit"] for text in CLASSES]
    assert scores(stage([image])[0])["class_logit"] == max(singles) and singles[0] != singles[1]


def test_proposal_is_the_whole_image_without_a_mask(stage):
    (done,) = stage([shown(0, "frog", "a frog")])
    (proposal,) = done.proposals
    assert (proposal.method, proposal.ordinal, proposal.mask) == (METHOD, 0, None)
    assert proposal.embedding.dtype == np.float16 and done.image is not None


def test_without_target_classes_there_is_no_class_score():
    (done,) = ContextScoreStage(SETTINGS, ())([shown(0, "frog", "a frog")])
    assert set(scores(done)) == {"caption_logit"}


def test_score_does_not_depend_on_the_neighbours(stage):
    five = [shown(i, "lion", f"text {i}") for i in range(5)]
    assert [scores(one) for one in stage(five)][4] == scores(stage(five[4:])[0])


def test_rejected_image_is_not_scored(stage):
    lost = replace(shown(0, "frog", "a frog"), image=None, status="rejected", reason="nan_image")
    assert stage([lost]) == [lost]


def test_image_that_raises_is_rejected_alone(stage):
    good, bad = (
        shown(0, "frog", "a frog"),
        replace(shown(1, "frog", "a frog"), image=np.zeros((0, 0, 3), np.uint8)),
    )
    done = stage([good, bad])
    assert [one.proposals[0].reason for one in done] == [None, "scoring_failed"]
