"""F13 and F15: other settings are refused, another width makes the same bytes."""

import pytest

from tests.pipelines.faults.driver import SMALL, Job
from tests.pipelines.faults.harness import assert_same_run, files, run


@pytest.mark.timeout(120)
def test_changed_settings_are_refused_with_the_difference(ray, reference):
    before = files(reference)
    changed = (*SMALL, "sources.diffusion.steps=7", "score.template=one {name}")
    shown = run(Job(reference, changed), ray, code=2)
    assert "sources.diffusion.steps: 20 -> 7" in shown
    assert 'score.template: "a photo of {name}" -> "one {name}"' in shown
    assert files(reference) == before


@pytest.mark.timeout(300)
def test_more_actors_in_another_order_make_the_same_bytes(ray, reference, tmp_path):
    """Each image takes another time, so that units arrive in another order."""
    out = tmp_path / "run"
    wide = (*SMALL, "resources.source.actors=3", "resources.segment.actors=2", "resources.score.actors=2")
    stages = {"source": {"seconds": 0.05, "uneven": True}, "score": {"seconds": 0.05, "uneven": True}}
    run(Job(out, wide, stages), ray)
    assert_same_run(out, reference)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_stages_one_after_the_other_make_the_same_bytes(ray, reference, tmp_path):
    out = tmp_path / "run"
    run(Job(out, sequential=True), ray)
    assert_same_run(out, reference)
