"""How this package uses Ray 2.60: start-up, resources, and the keywords that Ray will move.

`max_restarts` and `max_task_retries` still travel through `**ray_remote_args`, which Ray removes in
2.64; `custom_execution_callback_classes` and the executor's topology are not public. All of it is
here, so that a new Ray version is one file's work.
"""

import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, from_blocks
from ray.data._internal.execution.operators.map_operator import MapOperator
from ray.util.annotations import RayDeprecationWarning
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from xpaste_ray.config import StageResources
from xpaste_ray.pipelines.ledger import Ledger, LedgerState
from xpaste_ray.pipelines.resources import SPARE_CPUS, TASK_CPUS, Node
from xpaste_ray.records import Candidate
from xpaste_ray.worker import give_back_freed_memory

_ACCELERATOR = "accelerator_type:"  # Ray's prefix of the resource that names a node's kind of GPU

_OBJECT_STORE_BYTES = 1024**3
_TRIM_EVERY_S = 20.0  # it takes some milliseconds
_NO_PROGRESS_TIMEOUT_S = 1800  # a large model may take this long to load from a slow disk

StageListener = Callable[[str, int], None]
"""Called in the driver with a stage's name and the number of rows that it has handed on."""


def start_ray(cpus: float) -> None:
    """Connect to the cluster that RAY_ADDRESS names, as it does inside a Ray job; without one, start a
    local Ray for actors that book so many CPUs. Does nothing where this process is connected already.

    Local logical CPUs are bookkeeping, whatever the cores: when they run out Ray waits in silence, and
    for each it keeps a process ready, which takes from the actors' time.
    """
    if ray.is_initialized():
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
        return
    ray.init(
        address="local",
        num_cpus=math.ceil(cpus + SPARE_CPUS),
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        **quiet,
    )


def cluster_nodes() -> list[Node]:
    """The machines that are up."""
    return [
        Node(
            resources.get("CPU", 0.0),
            resources.get("GPU", 0.0),
            next((n.removeprefix(_ACCELERATOR) for n in resources if n.startswith(_ACCELERATOR)), None),
        )
        for resources in (node["Resources"] for node in ray.nodes() if node["Alive"])
    ]


class RemoteLedger:
    """A `Ledger` in a process of its own, on the driver's machine; actors call it from anywhere."""

    def __init__(self, actors: dict[str, int]) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
        self._ledger = ray.remote(Ledger).options(**options).remote(actors)

    def loading(self, stage: str) -> None:
        ray.get(self._ledger.loading.remote(stage))

    def loaded(self, stage: str, seconds: float) -> None:
        ray.get(self._ledger.loaded.remote(stage, seconds))

    def begin(self, stage: str, unit: str) -> dict[int, Candidate] | None:
        return ray.get(self._ledger.begin.remote(stage, unit))

    def begin_row(self, stage: str, unit: str, row: int) -> bool:
        return ray.get(self._ledger.begin_row.remote(stage, unit, row))

    def finish_row(self, stage: str, unit: str, row: int, done: Candidate) -> None:
        ray.get(self._ledger.finish_row.remote(stage, unit, row, done))

    def finish(self, stage: str, unit: str, images: int, seconds: float) -> None:
        self._ledger.finish.remote(stage, unit, images, seconds)  # nothing follows from it: no waiting

    def fail(self, reason: str) -> None:
        ray.get(self._ledger.fail.remote(reason))

    def state(self) -> LedgerState:
        return ray.get(self._ledger.state.remote())


def configure_data(listener: StageListener) -> None:
    """Set the data context for the pipelines built after this call."""
    context = DataContext.get_current()
    context.enable_progress_bars = False  # the listener shows progress
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # a row a block: units are large, and none waits for another
    context.execution_no_progress_timeout_s = _NO_PROGRESS_TIMEOUT_S
    context.actor_init_retry_on_errors = False  # a model that does not load is an error at once
    context.custom_execution_callback_classes = [_ForgetBlocks, _ProgressCallback]
    _ProgressCallback.listener = listener
    for name in ("ray.data", "ray.data._internal"):
        logging.getLogger(name).setLevel(logging.ERROR)


def dataset_of(blocks: Sequence[pa.Table]) -> Dataset:
    """A block each. `from_arrow` would run a task for every one, in seconds, and keep some 40 kB of it."""
    return from_blocks(list(blocks))


def actor_stage(
    dataset: Dataset, name: str, actor: type, resources: StageResources, kwargs: dict[str, Any]
) -> Dataset:
    """A fixed pool of actors, one row (group of units, or shard) a call, as Arrow."""
    named = type(name, (actor,), {})  # the operator's name in Ray's tools is the class's
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of the last two keywords; see above
        return dataset.map_batches(
            named,
            fn_constructor_kwargs=kwargs,
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=resources.actors),
            num_cpus=resources.cpus,
            num_gpus=resources.gpus or None,
            accelerator_type=resources.accelerator_type,
            max_restarts=-1,
            max_task_retries=-1,
        )


def task_stage(dataset: Dataset, function: Callable[..., Any], kwargs: dict[str, Any]) -> Dataset:
    """A function of a block, as Arrow, in tasks; the operator's name is the function's."""
    return dataset.map_batches(
        function, fn_kwargs=kwargs, batch_size=None, batch_format="pyarrow", num_cpus=TASK_CPUS
    )


def run_to_end(dataset: Dataset) -> None:
    """Run it for what its stages do. Each block is let go as it comes, where Ray's own writers keep one of
    every task until the end: the driver's memory must not grow with the work."""
    for _ in dataset.iter_internal_ref_bundles():
        pass


class _ForgetBlocks:
    """Drops the statistics that Ray keeps of every block, some kB each, until the end: nobody reads them.

    What Ray's threads allocate and free leaves holes: some 2 MB a minute, even while nothing moves.
    """

    def __init__(self) -> None:
        self._trim_next_s = 0.0

    def before_execution_starts(self, executor: Any) -> None: ...

    def on_execution_step(self, executor: Any) -> None:
        for operator in executor._topology:
            if isinstance(operator, MapOperator):
                operator._output_blocks_stats.clear()
        if time.monotonic() > self._trim_next_s:
            self._trim_next_s = time.monotonic() + _TRIM_EVERY_S
            give_back_freed_memory()

    def after_execution_succeeds(self, executor: Any) -> None: ...

    def after_execution_fails(self, executor: Any, error: Exception) -> None: ...


class _ProgressCallback:
    """Ray Data calls this in the driver after each step of the execution loop."""

    listener: ClassVar[StageListener | None] = None

    def before_execution_starts(self, executor: Any) -> None: ...

    def on_execution_step(self, executor: Any) -> None:
        self._report(executor)

    def after_execution_succeeds(self, executor: Any) -> None:
        self._report(executor)

    def after_execution_fails(self, executor: Any, error: Exception) -> None: ...

    def _report(self, executor: Any) -> None:
        if self.listener is None:
            return
        for operator in executor._topology:
            rows = operator.metrics.rows_task_outputs_generated
            name = operator.name.removeprefix("MapBatches(").removesuffix(")").lower()
            type(self).listener(name, rows)
