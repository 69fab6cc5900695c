"""F4: a row that raises is rejected by itself."""

from tests.pipelines.faults.driver import Job
from tests.pipelines.faults.harness import assert_same_but, run
from tests.standins import Fault


def test_rows_that_raise_are_rejected_and_all_others_are_as_undisturbed(ray, reference, tmp_path, notes):
    stages = {
        "source": {"fault": Fault("raise", ("banana-0", "lion-2", "pear-2"), notes)},  # the last are a unit
        "score": {"fault": Fault("raise", ("frog-5",), notes)},
    }
    run(Job(tmp_path / "run", stages=stages), ray)
    failed = dict.fromkeys(("banana-0", "lion-2", "pear-2"), "source_failed")
    assert_same_but(tmp_path / "run", reference, failed | {"frog-5": "score_failed"})
