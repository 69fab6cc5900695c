"""What the driver holds while a pipeline runs, on a real local Ray."""

import threading
from typing import Any

import pyarrow as pa
import pytest
import ray
from ray.data import DataContext
from ray.data._internal.execution.operators.map_operator import MapOperator

from tests.standins import code
from xpaste_ray.config import PoolSettings, StageResources, load
from xpaste_ray.errors import RunError
from xpaste_ray.pipelines.ray_profile import configure_data, dataset_of, start_ray
from xpaste_ray.pipelines.steps import resolve_inputs
from xpaste_ray.pipelines.unit_work import run_units
from xpaste_ray.pipelines.units import OpenPrompts, write_units
from xpaste_ray.runs import RunDir

UNITS = 120  # of an image
ACTORS = dict.fromkeys(("source", "segment", "score"), StageResources(actors=1))


class Spy:
    """Counts the statistics of blocks that are still there when a pipeline is over."""

    left: int | None = None

    def before_execution_starts(self, executor: Any) -> None: ...
    def on_execution_step(self, executor: Any) -> None: ...
    def after_execution_fails(self, executor: Any, error: Exception) -> None: ...

    def after_execution_succeeds(self, executor: Any) -> None:
        operators = [operator for operator in executor._topology if isinstance(operator, MapOperator)]
        if len(operators) == 5:  # units, source, segment, score, write
            Spy.left = sum(len(operator._output_blocks_stats) for operator in operators)


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    start_ray(2.0)
    configure_data()
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def most_begun(tmp_path_factory):
    """The most units at a time that the source had begun and that were not written yet, in the second half
    of a run whose last stage was the slow one. (More may wait for actors that are still loading.)"""
    folder = tmp_path_factory.mktemp("ray_profile")
    run, notes = RunDir(folder / "run"), folder / "notes"
    notes.mkdir()
    options = ["categories.names=[banana]", f"prompts.per_category={UNITS}", "sources.diffusion.unit_size=1"]
    write_units(run, resolve_inputs(load(PoolSettings, "demo", options)))
    DataContext.get_current().custom_execution_callback_classes.append(Spy)
    over, samples = threading.Event(), []

    def watch():
        while not over.wait(0.05):
            begun = sum(len(file.read_text().splitlines()) - 1 for file in notes.glob("source.*"))
            written = len(run.unit_sizes())
            if written >= UNITS / 2:
                samples.append(begun - written)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        stages = code(source={"notes": notes}, score={"seconds": 0.06})
        run_units(run, range(UNITS), ACTORS, stages, OpenPrompts(run), "test", 1)
    finally:
        over.set()
        watcher.join()
    assert len(run.unit_sizes()) == UNITS
    return max(samples)


def test_slow_stage_holds_the_others_back_long_before_the_object_store_is_full(most_begun):
    """What is begun and not written is what a killed run loses."""
    assert 2 <= most_begun <= UNITS / 4


def test_statistics_of_blocks_are_let_go(most_begun):
    assert Spy.left == 0


@pytest.mark.parametrize(("one_by_one", "blocks"), [(False, 1), (True, 3)])
def test_rows_are_handed_on_together_or_one_by_one(one_by_one, blocks):
    def each(batch):
        for row in range(batch.num_rows):
            yield batch.slice(row, 1)

    given = dataset_of([pa.table({"number": [1, 2, 3]})], one_by_one)
    made = given.map_batches(each, batch_size=None, batch_format="pyarrow").iter_internal_ref_bundles()
    assert sum(len(bundle.blocks) for bundle in made) == blocks


def test_run_that_stands_still_ends_and_says_what_to_set(tmp_path, monkeypatch):
    run = RunDir(tmp_path / "run")
    options = ["categories.names=[banana]", "prompts.per_category=1", "sources.diffusion.unit_size=1"]
    write_units(run, resolve_inputs(load(PoolSettings, "demo", options)))
    monkeypatch.setattr(DataContext.get_current(), "execution_no_progress_timeout_s", 5.0)
    stages = code(source={"seconds": 60.0})
    with pytest.raises(RunError, match="RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S says: set it higher"):
        run_units(run, [0], ACTORS, stages, OpenPrompts(run), "test", 1)
