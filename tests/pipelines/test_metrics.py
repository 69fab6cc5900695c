"""What actors tell Prometheus: by hand, and as a real Ray serves it."""

import re
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pytest
import ray

from tests.conftest import candidates
from tests.standins import STAGES, Score, code
from xpaste_ray.config import PoolSettings, StageResources, load
from xpaste_ray.pipelines.adapter import StageActor
from xpaste_ray.pipelines.metrics import LOAD_SECONDS, ROWS, STAGE_SECONDS, RayRecorder, outcomes
from xpaste_ray.pipelines.ray_profile import configure_data
from xpaste_ray.pipelines.steps import resolve_inputs
from xpaste_ray.pipelines.unit_work import run_units
from xpaste_ray.pipelines.units import OpenPrompts, write_units
from xpaste_ray.records import UNIT_IN_FLIGHT, Proposal, candidate_to_dict
from xpaste_ray.runs import RunDir

DEADLINE_S = 180  # a busy machine takes long to start a run's processes
LOAD_S, UNIT_S = 0.25, 0.5


def _with(candidate, *proposals):
    """`proposals`: the reason of each, None where it is usable."""
    made = (Proposal("m", i, None, "rejected" if why else "ok", why) for i, why in enumerate(proposals))
    return replace(candidate, proposals=tuple(made))


def _rejected(candidate, reason):
    return replace(candidate, status="rejected", reason=reason)


def test_rows_are_counted_by_what_became_of_them():
    given = candidates(5)
    done = [given[0], _with(given[1], None), _with(given[2], "empty_mask", None),
            _with(given[3], "empty_mask"), _rejected(given[4], "black_image")]  # fmt: skip
    assert outcomes(given, done) == {
        ("ok", ""): 3, ("rejected", "empty_mask"): 1, ("rejected", "black_image"): 1,
    }  # fmt: skip


def test_row_is_rejected_once_by_the_stage_that_rejects_it():
    one, other, third = candidates(3)
    given = [_rejected(one, "black_image"), _with(other, "empty_mask"), third]
    assert outcomes(given, given) == {("ok", ""): 1}


class Slow:
    """A stage that takes its time and rejects the first of each unit."""

    def __init__(self):
        time.sleep(LOAD_S)

    def __call__(self, given):
        time.sleep(UNIT_S)
        return [_rejected(given[0], "black_image"), *given[1:]]


class NoLedger:
    def __getattr__(self, name):
        return lambda *args: None


@pytest.fixture(scope="module")
def one_node():
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        object_store_memory=200 * 2**20, _system_config={"metrics_report_interval_ms": 1000},
    )  # fmt: skip
    yield
    ray.shutdown()


def _served(*wanted):
    """What the node's agent serves: {(name, stage, status, reason): value}, once it has all of `wanted`,
    each a (name, stage)."""
    url = f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            text = urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError:  # the agent is not up yet
            text = ""
        found = {}
        for name, tags, value in re.findall(r"^ray_(xpaste_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
            told = dict(re.findall(r'(\w+)="([^"]*)"', tags))
            found[name, told["stage"], told.get("status"), told.get("reason")] = float(value)
        if set(wanted) <= {(name, stage) for name, stage, *_ in found}:
            return found
        time.sleep(0.5)
    raise AssertionError(f"not served within {DEADLINE_S} s: {wanted}, only {sorted(found, key=str)}")


def test_node_serves_rows_and_seconds_of_its_actors(one_node):
    row = {"round": 0, "unit": 0, "candidates": [candidate_to_dict(one) for one in candidates(3)]}
    unit = pa.Table.from_pylist([row], schema=UNIT_IN_FLIGHT)

    @ray.remote
    class Actor:
        def __init__(self):
            self.actor = StageActor("slow", f"{__name__}:Slow", {}, NoLedger(), recorder=RayRecorder())

        def run(self, units):
            return [len(list(self.actor(unit))) for _ in range(units)]

    actor = Actor.remote()
    ray.get(actor.run.remote(2), timeout=DEADLINE_S)
    time.sleep(1.5)  # an interval of reports, so that all of the two units is in
    served = _served((ROWS, "slow"), (STAGE_SECONDS, "slow"), (LOAD_SECONDS, "slow"))
    assert served[ROWS, "slow", "ok", ""] == 4  # two of each unit
    assert served[ROWS, "slow", "rejected", "black_image"] == 2
    assert 2 * UNIT_S <= served[STAGE_SECONDS, "slow", None, None] < 2 * UNIT_S + 5
    assert LOAD_S <= served[LOAD_SECONDS, "slow", None, None] < LOAD_S + 10


class Held(Score):
    """Scores the first unit, and the others when a file is there: until then the run's actors are alive, and
    with them what they told."""

    def __init__(self, until):
        super().__init__()
        self._until = until

    def __call__(self, given):
        give_up = time.monotonic() + 2 * DEADLINE_S
        while given[0].prompt.index > 0 and not self._until.exists() and time.monotonic() < give_up:
            time.sleep(0.05)
        return super().__call__(given)


def test_every_stage_of_a_run_is_served(one_node, tmp_path):
    run, seen = RunDir(tmp_path / "run"), tmp_path / "seen"
    options = ["categories.names=[banana]", "prompts.per_category=8", "sources.diffusion.unit_size=1"]
    write_units(run, resolve_inputs(load(PoolSettings, "demo", options)))
    configure_data()
    stages = code(score={"target": f"{__name__}:Held", "until": seen})
    actors = dict.fromkeys(STAGES, StageResources(actors=1))
    names = (ROWS, STAGE_SECONDS, LOAD_SECONDS)
    with ThreadPoolExecutor(1) as thread:
        over = thread.submit(run_units, run, range(8), actors, stages, OpenPrompts(run), "test", 1)
        try:
            served = _served(*((name, stage) for name in names for stage in STAGES))
        finally:
            seen.touch()
        over.result(timeout=DEADLINE_S)
    assert served[ROWS, "score", "ok", ""] == 1
    assert 1 <= served[ROWS, "source", "ok", ""] <= 8
