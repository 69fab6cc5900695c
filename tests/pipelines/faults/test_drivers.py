"""F5 and F7: the driver dies, or there are two."""

import pytest

from tests.pipelines.faults.driver import Job
from tests.pipelines.faults.harness import (
    assert_same_run,
    driving,
    images_run,
    processes,
    run,
    unit_files,
)

SLOW = {"source": {"seconds": 0.2}}


def _kill_and_continue(ray, reference, tmp_path, notes, units):
    """Kill the driver when it has written so many of 12 units, then give the same command again."""
    out = tmp_path / "run"
    with driving(Job(out, stages={"source": {"seconds": 0.2, "notes": notes}}), ray) as driver:
        driver.until(lambda: processes(notes, "source") and len(unit_files(out)) >= units, f"unit {units}")
        driver.kill()
        done = {path: path.stat().st_mtime_ns for path in unit_files(out)}
        assert units <= len(done) <= 12
    again = tmp_path / "again"
    again.mkdir()
    run(Job(out, stages={"source": {"notes": again}}), ray)
    assert_same_run(out, reference)
    # What was still being written when the driver died may have landed after we looked.
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(images_run(again, "source")) <= 24 - 2 * len(done)


@pytest.mark.timeout(300)
def test_killed_driver_continues_where_it_was(ray, reference, tmp_path, notes):
    _kill_and_continue(ray, reference, tmp_path, notes, units=6)


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("units", [0, 3, 9, 12])
def test_killed_driver_continues_from_any_moment(ray, reference, tmp_path, notes, units):
    """12: all units are written, scores and the sealed pool may not be."""
    _kill_and_continue(ray, reference, tmp_path, notes, units)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_second_driver_is_refused_and_the_first_is_not_disturbed(ray, reference, tmp_path, notes):
    out = tmp_path / "run"
    with driving(Job(out, stages={"source": {"seconds": 0.5}}), ray) as first:
        first.until(lambda: (out / ".lease.json").exists(), "the first holds its lease")
        log = out.with_suffix(".log").read_text()
        second = Job(out, stages={"source": {"notes": notes}})
        link = tmp_path / "second"  # the same run by another name
        link.symlink_to(out)
        shown = run(Job(link, stages=second.stages), ray, code=2)
        assert "another xpaste is at work there" in shown and f"process {first.process.pid}" in shown
        assert first.end() == 0, log
    assert images_run(notes, "source") == []
    assert_same_run(out, reference)
