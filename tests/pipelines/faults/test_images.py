"""F9, F14 and F17: out of memory, useless images, and failures that pass."""

import json

import pytest

from tests.pipelines.faults.driver import Job
from tests.pipelines.faults.harness import (
    assert_same_but,
    assert_same_run,
    candidates,
    driving,
    files,
    images_run,
    run,
    unit_files,
)
from tests.standins import Fault
from xpaste_ray.pool import open_pool

_SMALL_GPU = "tests.standins:SmallGpu"
_BROKEN = "tests.pipelines.faults.broken_pictures:BrokenPictures"


def _pool_files(out):
    return {name: data for name, data in files(out).items() if name.startswith("pools/")}


@pytest.mark.timeout(300)
def test_batch_that_does_not_fit_is_halved_and_every_image_is_made(ray, reference, tmp_path):
    """Units of two on a GPU that holds one. The stand-in does not round, so the pool is the same; the
    candidates tell that they were computed in another shape."""
    out = tmp_path / "run"
    run(Job(out, stages={"source": {"target": _SMALL_GPU, "size": 2, "rows": 1}}), ray)
    made = candidates(out)
    assert {row["status"] for row in made.values()} == {"ok"}
    assert all(row["degraded_shape"] for row in made.values())
    assert _pool_files(out) == _pool_files(reference)


@pytest.mark.timeout(300)
def test_useless_images_are_made_once_more_and_never_enter_the_pool(ray, reference, tmp_path):
    """NaN, black and constant in half precision; float32 cures one of each kind."""
    broken = {
        f"{name}-{index}": (kind, index == 1)
        for name, kind in (("banana", "nan"), ("frog", "black"), ("lion", "constant"))
        for index in (1, 3)
    }
    out = tmp_path / "run"
    run(Job(out, stages={"source": {"target": _BROKEN, "broken": broken, "size": 2}}), ray)
    rejected = {"banana-3": "nan_image", "frog-3": "black_image", "lion-3": "constant_image"}
    assert_same_but(out, reference, rejected)
    pool, made = open_pool(out), candidates(out)
    in_pool = {pool.provenance(row)["candidate_id"] for row in range(len(pool))}
    assert in_pool == {row["candidate_id"] for name, row in made.items() if name not in rejected}


PASSING = ("banana-0", "frog-0", "pear-1", "lion-2", "banana-3", "banana-4", "frog-4", "lion-4")  # of 24


def _lossy(tmp_path, notes, ray):
    """A run in which a third of the images was out of reach, as often as it was tried so far: once."""
    out = tmp_path / "run"
    fault = Fault("pass", PASSING, notes, times=1)
    run(Job(out, stages={"source": {"fault": fault, "notes": notes}}), ray)
    counts = json.loads((out / "run.json").read_text())["counts"]["candidates"]
    assert counts["rejected"]["unreachable"] == 8
    return out


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_passing_failures_are_run_again_on_demand_only_and_by_whole_units(ray, reference, tmp_path, notes):
    out = _lossy(tmp_path, notes, ray)
    before = files(out)
    assert "starting Ray" not in run(Job(out), ray)
    assert files(out) == before
    again = tmp_path / "again"
    again.mkdir()
    run(Job(out, stages={"source": {"notes": again}}, retry_failed=True), ray)
    assert_same_run(out, reference)
    units = {("banana", "frog"): (0, 3, 4), ("lion", "pear"): (1, 2, 4)}
    expected = [f"{name}-{index}" for names, at in units.items() for name in names for index in at]
    assert sorted(images_run(again, "source")) == sorted(expected)


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_retry_that_is_killed_leaves_a_run_that_any_build_finishes(ray, reference, tmp_path, notes):
    """The pool must be of the units as they are now, and the rest is still there to be tried again."""
    out = _lossy(tmp_path, notes, ray)
    before = {path: path.stat().st_mtime_ns for path in unit_files(out)}

    def replaced():
        return sum(path.stat().st_mtime_ns != before[path] for path in unit_files(out))

    slow = {"source": {"seconds": 0.3}}
    with driving(Job(out, stages=slow, retry_failed=True), ray) as driver:
        driver.until(lambda: replaced() >= 2, "two units were made again")
        driver.kill()
    run(Job(out), ray)
    made = candidates(out)
    left = {name: row["reason"] for name, row in made.items() if row["status"] != "ok"}
    assert 0 < len(left) < 8
    assert_same_but(out, reference, left)
    run(Job(out, retry_failed=True), ray)
    assert_same_run(out, reference)
