"""How this package uses Ray 2.60: start-up, resources, and the keywords that Ray will move.

`max_restarts` and `max_task_retries` still travel through `**ray_remote_args`, which Ray removes in
2.64; `custom_execution_callback_classes`, the executor's topology and how it holds stages back are
not public. All of it is here, so that a new Ray version is one file's work.
"""

import logging
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, TaskPoolStrategy, from_blocks
from ray.data._internal.execution.backpressure_policy import (
    ENABLED_BACKPRESSURE_POLICIES,
    ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY,
    BackpressurePolicy,
)
from ray.data._internal.execution.interfaces import PhysicalOperator
from ray.data._internal.execution.operators.map_operator import MapOperator
from ray.util.annotations import RayDeprecationWarning
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from xpaste_ray.cache import CACHE_DIR_VARIABLE
from xpaste_ray.config import StageResources
from xpaste_ray.errors import RunError
from xpaste_ray.pipelines.ledger import Ledger, LedgerState
from xpaste_ray.pipelines.resources import SPARE_CPUS, TASK_CPUS, Node
from xpaste_ray.records import Candidate
from xpaste_ray.worker import use_one_heap

_ACCELERATOR = "accelerator_type:"  # Ray's prefix of the resource that names a node's kind of GPU

_OBJECT_STORE_BYTES = 1024**3

_TASK_RETRIES = 5  # of a task whose process dies; else Ray starts it again for ever

_WAITING_PER_ACTOR = 2  # units
_WAITING_WHILE_LOADING = 64  # for each, while no actor has loaded its model: minutes of a large card
_WAITING_FOR_TASKS = 16

_POLL_S = 1.0
_LAST_WORD_S = 10.0  # for the ledger, when all is done

StageListener = Callable[[Mapping[str, int], LedgerState | None], None]
"""Called in the driver: the rows that each stage has handed on, in the stages' order, and what the
ledger counts, if there is one."""

_LOG = logging.getLogger(__name__)


def starts_here() -> bool:
    """Whether `start_ray` would start a local Ray: this process is not connected, and no cluster is named."""
    return not ray.is_initialized() and not os.environ.get("RAY_ADDRESS")


def start_ray(cpus: float) -> None:
    """Connect to the cluster that RAY_ADDRESS names, as it does inside a Ray job; without one, start a
    local Ray for actors that book so many CPUs. Does nothing where this process is connected already.

    Local logical CPUs are bookkeeping, whatever the cores: when they run out Ray waits in silence, and
    for each it keeps a process ready, which takes from the actors' time.
    """
    if ray.is_initialized():
        return
    use_one_heap()
    told: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cache_dir := os.environ.get(CACHE_DIR_VARIABLE):
        told["runtime_env"] = {"env_vars": {CACHE_DIR_VARIABLE: cache_dir}}
    if starts_here():
        ray.init(
            address="local",
            num_cpus=math.ceil(cpus + SPARE_CPUS),
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            **told,
        )
    else:
        ray.init(**told)
    _hear_out_restart_note()


_RESTART_NOTE = b"has constructor arguments in the object store and max_restarts > 0"


def _hear_out_restart_note() -> None:
    """Let Ray say, where nobody sees it, what it says once in each process that starts such actors.

    An actor cannot be started again when the arguments of its constructor are lost, ray-project/ray#53727.
    Ray Data hands them over by reference for every pool of actors; they are this process's, which keeps
    them until the run is over. Every other word on the error stream goes on to it.
    """
    argument = ray.put(None)
    with _without_line(_RESTART_NOTE):
        actor = ray.remote(_Nobody).options(num_cpus=0, max_restarts=1).remote(argument)
    ray.kill(actor)


class _Nobody:
    def __init__(self, argument: None) -> None: ...


@contextmanager
def _without_line(text: bytes) -> Iterator[None]:
    """Keep lines with `text` from this process's error stream; Ray's core writes past Python's."""
    with tempfile.TemporaryFile() as heard:
        stream = os.dup(2)
        os.dup2(heard.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stream, 2)
            os.close(stream)
            heard.seek(0)
            for line in heard:
                if text not in line:
                    os.write(2, line)


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
        ray.get(self._ledger.finish.remote(stage, unit, images, seconds))  # totals hold the last unit, too

    def fail(self, reason: str) -> None:
        ray.get(self._ledger.fail.remote(reason))

    def state(self) -> LedgerState:
        return ray.get(self.ask())

    def ask(self) -> "ray.ObjectRef[LedgerState]":
        """For the state, without waiting for it."""
        return self._ledger.state.remote()


def configure_data(listener: StageListener | None = None) -> None:
    """Set the data context for the pipelines built after this call."""
    context = DataContext.get_current()
    context.enable_progress_bars = False  # the listener shows progress
    context.print_on_execution_start = False
    context.actor_init_retry_on_errors = False  # a model that does not load is an error at once
    context.custom_execution_callback_classes = [_ForgetBlocks, _ProgressCallback]
    listen(listener)
    for name in ("ray.data", "ray.data._internal"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("ray.data.exceptions", "ray.data._internal.execution.streaming_executor_state"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they log what they raise


def listen(listener: StageListener | None, ledger: RemoteLedger | None = None) -> None:
    """From now on tell `listener`, at most once a second, how the running pipeline does, and end it when
    `ledger` knows that it cannot go on."""
    _ProgressCallback.listener, _ProgressCallback.ledger = listener, ledger


def dataset_of(blocks: Sequence[pa.Table], one_by_one: bool = False) -> Dataset:
    """A block each. `from_arrow` would run a task for every one, in seconds, and keep some 40 kB of it.

    one_by_one: stages hand on each row as soon as it is made, as a block, and none runs far ahead of the
    next; else a few together, and as far ahead as the object store allows.
    """
    dataset = from_blocks(list(blocks))
    if one_by_one:
        context = dataset.context  # its own; the datasets made from it share that
        context.target_max_block_size = 1
        policies = [*ENABLED_BACKPRESSURE_POLICIES, _ShortQueues]
        context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, policies)
    return dataset


def actor_stage(
    dataset: Dataset, name: str, actor: type, resources: StageResources, kwargs: dict[str, Any]
) -> Dataset:
    """A fixed pool of actors, one row (unit, or shard) a call, as Arrow."""
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
    return _tasks(dataset, function, TaskPoolStrategy(), fn_kwargs=kwargs)


def feed(dataset: Dataset, function: Callable[..., Any], rows_ahead: int) -> Dataset:
    """A generator of rows in a task that goes on for the whole run, up to `rows_ahead` of what is asked for.
    Ray's own two are too few for stages that take dozens a second."""
    objects = 2 * rows_ahead  # a block, and what Ray notes of it
    return _tasks(dataset, function, TaskPoolStrategy(size=1), _generator_backpressure_num_objects=objects)


def _tasks(
    dataset: Dataset, function: Callable[..., Any], compute: TaskPoolStrategy, **options: Any
) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of the last keywords; see above
        return dataset.map_batches(
            function,
            batch_size=None,
            batch_format="pyarrow",
            compute=compute,
            num_cpus=TASK_CPUS,
            max_retries=_TASK_RETRIES,
            **options,
        )


def run_to_end(dataset: Dataset) -> None:
    """Run it for what its stages do. Each block is let go as it comes, where Ray's own writers keep one of
    every task until the end: the driver's memory must not grow with the work."""
    for _ in dataset.iter_internal_ref_bundles():
        pass


class _ShortQueues(BackpressurePolicy):
    """Holds a stage back while enough waits for the next one.

    Ray does so by bytes, once half of the object store is full: by then thousands of units may be between
    the stages. What is begun and not written is what a killed run loses, and the driver holds some of it.
    """

    def can_add_input(self, op: PhysicalOperator) -> bool:
        return self._has_room(op)

    def max_task_output_bytes_to_read(self, op: PhysicalOperator) -> int | None:
        return None if self._has_room(op) else 0

    def _has_room(self, op: PhysicalOperator) -> bool:
        return all(
            self._topology[after].total_enqueued_input_blocks() < _waiting_at_most(after)
            for after in op.output_dependencies
        )


def _waiting_at_most(op: PhysicalOperator) -> int:
    """In a stage's queue, beside what Ray has given to its actors."""
    actors = op.get_max_concurrency_limit()
    if actors is None:
        return _WAITING_FOR_TASKS
    return actors * (_WAITING_PER_ACTOR if op.get_actor_info().running else _WAITING_WHILE_LOADING)


class _ForgetBlocks:
    """Drops the statistics that Ray keeps of every block, some kB each, until the end: nobody reads them."""

    def before_execution_starts(self, executor: Any) -> None: ...

    def on_execution_step(self, executor: Any) -> None:
        for operator in executor._topology:
            if isinstance(operator, MapOperator):
                operator._output_blocks_stats.clear()

    def after_execution_succeeds(self, executor: Any) -> None: ...

    def after_execution_fails(self, executor: Any, error: Exception) -> None: ...


class _ProgressCallback:
    """Ray Data makes one for each execution and calls it in the driver, in the loop that keeps all
    actors busy: nothing here may wait for anything, and no fault of what shows progress may end a run.
    What ends it is a failure that the ledger knows of."""

    listener: ClassVar[StageListener | None] = None
    ledger: ClassVar[RemoteLedger | None] = None

    def __init__(self) -> None:
        self._next_s = 0.0
        self._asked: ray.ObjectRef[LedgerState] | None = None
        self._state: LedgerState | None = None

    def before_execution_starts(self, executor: Any) -> None: ...

    def on_execution_step(self, executor: Any) -> None:
        now = time.monotonic()
        if now >= self._next_s and (self._has_answer() or now >= self._next_s + _POLL_S):
            self._next_s = now + _POLL_S
            self._report(executor)
            if self._state and self._state.failure:
                raise RunError(self._state.failure)

    def after_execution_succeeds(self, executor: Any) -> None:
        self._asked = None  # an answer under way is older than the last unit
        self._has_answer(_LAST_WORD_S)
        self._report(executor)

    def after_execution_fails(self, executor: Any, error: Exception) -> None: ...

    def _report(self, executor: Any) -> None:
        if not self.listener:
            return
        try:
            type(self).listener(_rows_handed_on(executor), self._state)
        except Exception:
            _LOG.warning("progress cannot be shown any more", exc_info=True)
            listen(None, self.ledger)

    def _has_answer(self, patience_s: float = 0.0) -> bool:
        """Ask the ledger, unless that is done, and see whether it has answered."""
        if self.ledger is None:
            return True
        self._asked = self._asked or self.ledger.ask()
        answered, _ = ray.wait([self._asked], timeout=patience_s)
        if answered:
            self._asked = None
            try:
                self._state = ray.get(answered[0])
            except ray.exceptions.RayError:
                _LOG.debug("the ledger does not answer", exc_info=True)  # its process is started again
        return bool(answered)


def _rows_handed_on(executor: Any) -> dict[str, int]:
    """By stage, in order."""
    return {
        operator.name.removeprefix("MapBatches(").removesuffix(")").lower(): (
            operator.metrics.rows_task_outputs_generated
        )
        for operator in executor._topology
    }
