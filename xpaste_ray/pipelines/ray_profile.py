"""How this package uses Ray 2.60: start-up, resources, and the keywords that Ray will move.

`max_restarts` and `max_task_retries` still travel through `**ray_remote_args`, which Ray removes in
2.64; `custom_execution_callback_classes` and the executor's topology are not public. All of it is
here, so that a new Ray version is one file's work.
"""

import logging
import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.util.annotations import RayDeprecationWarning

_OBJECT_STORE_BYTES = 1024**3
_ACTOR_CPUS = 0.1  # so small a share that the pools leave room for the tasks between them
_TASK_CPUS = 0.25
_SPARE_CPUS = 2  # for tasks
_NO_PROGRESS_TIMEOUT_S = 900

StageListener = Callable[[str, int], None]
"""Called in the driver with a stage's name and the number of rows that it has handed on."""


def start_ray(actors: int) -> None:
    """Start a local Ray with room for this many actors, unless this process is connected already.

    Its logical CPUs are bookkeeping, whatever the cores: when they run out Ray waits in silence, and for
    each it keeps a process ready, which takes from the actors' time.
    """
    if ray.is_initialized():
        return
    ray.init(
        address="local",
        num_cpus=math.ceil(actors * _ACTOR_CPUS) + _SPARE_CPUS,
        num_gpus=0,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def configure_data(listener: StageListener) -> None:
    """Set the data context for the pipelines built after this call."""
    context = DataContext.get_current()
    context.enable_progress_bars = False  # the listener shows progress
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = _NO_PROGRESS_TIMEOUT_S
    context.actor_init_retry_on_errors = False  # a model that does not load is an error at once
    context.custom_execution_callback_classes = [_ProgressCallback]
    _ProgressCallback.listener = listener
    for name in ("ray.data", "ray.data._internal"):
        logging.getLogger(name).setLevel(logging.ERROR)


def actor_stage(dataset: Dataset, name: str, actor: type, actors: int, kwargs: dict[str, Any]) -> Dataset:
    """A fixed pool of actors, one row (unit or shard) a call, as Arrow."""
    named = type(name, (actor,), {})  # the operator's name in Ray's tools is the class's
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of the last two keywords; see above
        return dataset.map_batches(
            named,
            fn_constructor_kwargs=kwargs,
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=actors),
            num_cpus=_ACTOR_CPUS,
            max_restarts=-1,
            max_task_retries=-1,
        )


WRITE_TASK_ARGS: dict[str, Any] = {"num_cpus": _TASK_CPUS}


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
