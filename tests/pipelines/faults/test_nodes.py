"""F12: nodes that stop answering, and a node that is lost. Three nodes, GPUs that only Ray's books have."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil
import pytest
from ray.cluster_utils import Cluster

from tests.pipelines.faults.driver import SMALL, Job
from tests.pipelines.faults.harness import ROOT, assert_same_run, driving, processes, unit_files

pytestmark = pytest.mark.faults

_STORE_BYTES = 200 * 1024**2
_QUICK = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000,
          "health_check_timeout_ms": 1000, "health_check_failure_threshold": 5}  # fmt: skip
_LOST_AFTER_S = 8  # a node that does not answer: the first look after 1 s, then 5 misses of 1 s, and the news

ON_GPUS = (*SMALL, "resources.source.actors=2", "resources.source.gpus=1")


@contextmanager
def _three_nodes(health_checks: Mapping[str, int] = _QUICK) -> Iterator[Cluster]:
    """A head with CPUs only, and two workers with one GPU each. `health_checks`: Ray's own if empty."""
    head = {"num_cpus": 8, "object_store_memory": _STORE_BYTES, "_system_config": dict(health_checks)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # the workers import the stand-ins
        cluster = Cluster(True, head_node_args=head)
        try:
            for _ in range(2):
                _add_worker(cluster)
            yield cluster
        finally:
            cluster.shutdown()


def _add_worker(cluster):
    return cluster.add_node(num_cpus=4, num_gpus=1, object_store_memory=_STORE_BYTES)


def _raylet(node) -> psutil.Process:
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


@pytest.fixture
def stages(notes):
    return {"source": {"seconds": 0.5, "notes": notes}}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("seconds", "health_checks"),
    [
        pytest.param(2, _QUICK, id="too-short-to-be-lost"),
        pytest.param(_LOST_AFTER_S + 12, _QUICK, id="lost"),
        pytest.param(60, {}, id="a-minute-by-rays-own-checks", marks=pytest.mark.slow),
    ],
)
def test_node_that_stops_answering_for_a_while(reference, tmp_path, notes, stages, seconds, health_checks):
    """Half of the workers. Its actor goes on, beside its replacement if there is one."""
    out = tmp_path / "run"
    job = Job(out, ON_GPUS, stages)
    with _three_nodes(health_checks) as cluster, driving(job, cluster.address) as driver:
        driver.until(lambda: len(processes(notes, "source")) == 2 and len(unit_files(out)) >= 2, "unit 2")
        raylet = _raylet(next(iter(cluster.worker_nodes)))
        os.kill(raylet.pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(raylet.pid, signal.SIGCONT)
        assert driver.end(300) == 0, driver.shown
    assert_same_run(out, reference)


@pytest.mark.timeout(400)
def test_lost_node_costs_its_units_in_flight_only(reference, tmp_path, notes, stages):
    """kill -9 of everything on one of two workers; another node takes its place."""
    out = tmp_path / "run"
    with _three_nodes() as cluster, driving(Job(out, ON_GPUS, stages), cluster.address) as driver:
        driver.until(lambda: len(processes(notes, "source")) == 2 and len(unit_files(out)) >= 2, "unit 2")
        node = next(iter(cluster.worker_nodes))
        doomed = _raylet(node).children(recursive=True)
        cluster.remove_node(node, allow_graceful=False)
        for process in doomed:
            if process.is_running():
                process.kill()
        _add_worker(cluster)
        assert driver.end(300) == 0, driver.shown
    assert_same_run(out, reference)
