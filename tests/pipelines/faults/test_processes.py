"""F1, F2, F3 and F10: processes of the stages that die, leave, or lose their GPU."""

import json
import os
import random
import signal
import time
from contextlib import suppress

import pytest

from tests.pipelines.faults.driver import SMALL, Job
from tests.pipelines.faults.harness import (
    assert_same_but,
    assert_same_run,
    driving,
    images_run,
    processes,
    run,
)
from tests.standins import Fault

pytestmark = pytest.mark.faults

EVERYTHING = tuple(f"{name}-{i}" for i in range(6) for name in ("banana", "frog", "lion", "pear"))


def _kill_every(seconds, driver, notes, most):
    """Kill a process of a random stage every so often, until the driver ends; how many of each stage."""
    draw, deadline = random.Random(0), time.monotonic() + most
    killed = dict.fromkeys(("source", "segment", "score"), 0)
    while driver.process.poll() is None:
        assert time.monotonic() < deadline, f"the driver hangs:\n{driver.shown}"
        time.sleep(seconds)
        alive = [(stage, pid) for stage in killed for pid in processes(notes, stage)]
        if alive:
            stage, pid = draw.choice(alive)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed[stage] += 1
    return killed


def _kill_for_a_whole_run(ray, reference, tmp_path, notes, every, most, seconds_an_image):
    out = tmp_path / "run"
    stages = {"source": {"seconds": seconds_an_image, "notes": notes}}
    stages |= {stage: {"seconds": 0.01, "notes": notes} for stage in ("segment", "score")}
    wide = (*SMALL, "resources.source.actors=2")
    with driving(Job(out, wide, stages), ray) as driver:
        killed = _kill_every(every, driver, notes, most)
        assert driver.end(1) == 0, driver.shown
    assert_same_run(out, reference)
    assert killed["source"] >= 1 and sum(killed.values()) >= 4, killed
    again = len(images_run(notes, "source")) - 24  # of the units in flight: one of two images for each death
    assert again <= 1.1 * 2 * killed["source"], (again, killed)


@pytest.mark.timeout(400)
def test_run_survives_the_death_of_an_actor_every_few_seconds(ray, reference, tmp_path, notes):
    _kill_for_a_whole_run(ray, reference, tmp_path, notes, every=3, most=300, seconds_an_image=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_run_survives_the_death_of_an_actor_every_ten_seconds(ray, reference, tmp_path, notes):
    _kill_for_a_whole_run(ray, reference, tmp_path, notes, every=10, most=1500, seconds_an_image=5)


@pytest.mark.timeout(300)
def test_processes_that_leave_or_lose_their_gpu_are_replaced(ray, reference, tmp_path, notes):
    """A pool of one for each stage, so that nobody else could go on: each loses one process."""
    stages = {
        "source": {"fault": Fault("device lost", ("frog-3",), notes, times=1), "notes": notes},
        "segment": {"fault": Fault("sys.exit", ("lion-1",), notes, times=1), "notes": notes},
        "score": {"fault": Fault("sys.exit", ("load",), notes, times=1), "notes": notes},
    }
    run(Job(tmp_path / "run", stages=stages), ray)
    assert_same_run(tmp_path / "run", reference)
    for stage in stages:
        assert len(list(notes.glob(f"{stage}.*"))) == 2, stage


@pytest.mark.timeout(400)
def test_rows_that_kill_their_process_are_found_and_all_others_are_as_undisturbed(
    ray, reference, tmp_path, notes
):
    stages = {
        "source": {"fault": Fault("kill", ("frog-1", "pear-4"), notes), "notes": notes},
        "score": {"fault": Fault("exit", ("lion-2",), notes), "notes": notes},
    }
    run(Job(tmp_path / "run", stages=stages), ray, seconds=300)
    killed = dict.fromkeys(("frog-1", "pear-4", "lion-2"), "killed_worker")
    assert_same_but(tmp_path / "run", reference, killed)
    # Two deaths of the unit and three of the row, each; the neighbour that comes first runs in all of the
    # attempts at the unit as a whole, and once by itself.
    tries = images_run(notes, "source")
    assert len(list(notes.glob("source.*"))) == 1 + 2 * 5
    assert tries.count("frog-1") == tries.count("pear-4") == 5
    assert tries.count("banana-1") == 3


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("stages", "where"),
    [
        pytest.param({"source": EVERYTHING}, "at unit", id="at-every-row"),
        pytest.param({"score": ("load",)}, "while it loaded its model", id="at-load"),
    ],
)
def test_run_in_which_everything_dies_ends_with_a_clear_error(ray, tmp_path, notes, stages, where):
    """17 deaths of a pool of one."""
    out = tmp_path / "run"
    faulty = {name: {"fault": Fault("kill", at, notes), "notes": notes} for name, at in stages.items()}
    shown = run(Job(out, stages=faulty), ray, code=1, seconds=300)
    (stage,) = stages
    assert f"error: the processes of stage '{stage}' keep dying (17 deaths without any progress" in shown
    assert where in shown and "the same command continues it" in shown
    assert "counts" not in json.loads((out / "run.json").read_text())
