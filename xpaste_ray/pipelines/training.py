"""Training anything on Ray: in one task, or in as many processes as are asked for, through Ray Train.

What trains is a function of the device that every process gets. It goes on from its own files, so a process
that dies is started again.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpaste_ray.config import StageResources
from xpaste_ray.errors import ConfigError, RunError, StorageError, XPasteError

Train = Callable[[str], None]
"""Called with "cpu" or "cuda:0". It can be pickled, and loads torch only when it is called."""

_POLL_S = 1.0
_RETRIES = 3  # of a task or a group whose process dies
_REFUSAL = "refusal.txt"
_TASKS: set[Any] = set()  # that are waited for


def train_on_ray(train: Train, resources: StageResources, work: Path, name: str, whose: str) -> None:
    """Ray must have been started. work: a folder that all nodes see. name: of the training among others.
    whose: for messages, such as "the classifier's". ConfigError, RunError or StorageError that it raises, in
    all processes or in one; RunError if its processes keep dying."""
    try:
        if resources.actors == 1:
            told = _in_one_task(train, resources)
        else:
            told = _in_a_group(train, resources, work, name)
    except Exception as error:
        raise RunError(
            f"{whose} training stopped ({error}): check the memory and the GPUs of its nodes, then run the "
            "same command again; it goes on from what it kept last"
        ) from error
    if told:
        kind, _, text = told.partition(": ")
        raise (ConfigError if kind == ConfigError.__name__ else RunError)(text)


def _try(train: Train, device: str, alone: bool = True) -> str | None:
    """In a process that trains: None, or the message of what is no fault of the process, "class: text".

    alone: else what only one of a group meets is raised, for the others would wait for it; a new group finds
    it from the start.
    """
    try:
        train(device)
    except XPasteError as error:
        if isinstance(error, StorageError) and not alone:
            raise
        return f"{type(error).__name__}: {error}"
    return None


def _in_one_task(train: Train, resources: StageResources) -> str | None:
    import ray

    remote = ray.remote(max_calls=1)(_try).options(  # its process, and memory, go with it
        num_cpus=resources.cpus,
        num_gpus=resources.gpus or None,
        accelerator_type=resources.accelerator_type,
        max_retries=_RETRIES,
    )
    task = remote.remote(train, resources.device)
    _TASKS.add(task)
    try:
        told: str | None = ray.get(task)
    finally:
        _TASKS.discard(task)
    return told


def cancel_trainings() -> None:
    """End those of this process that are one task each: whichever thread waits for one gets a RunError."""
    import ray

    for task in tuple(_TASKS):
        ray.cancel(task, force=True)


def _in_a_group(train: Train, resources: StageResources, work: Path, name: str) -> str | None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    wanted = {"CPU": resources.cpus, **({"GPU": resources.gpus} if resources.gpus else {})}
    refusal = work / _REFUSAL
    trainer = TorchTrainer(
        _train_as_one,
        train_loop_config={"train": train, "refusal": refusal},
        scaling_config=ScalingConfig(
            num_workers=resources.actors,
            use_gpu=bool(resources.gpus),
            resources_per_worker=wanted,
            accelerator_type=resources.accelerator_type,
        ),
        run_config=RunConfig(
            name=f"group-{name}",
            storage_path=str(work),
            failure_config=FailureConfig(max_failures=_RETRIES),
        ),
    )
    refusal.unlink(missing_ok=True)
    trainer.fit()
    return refusal.read_text(encoding="utf-8") if refusal.exists() else None


def _train_as_one(config: dict[str, Any]) -> None:
    """One process of a group, which Ray Train has put together. What all of them find wrong is left in a
    file: Ray Train would try what is raised again."""
    import ray.train
    import ray.train.torch

    told = _try(config["train"], str(ray.train.torch.get_device()), alone=False)
    if told and ray.train.get_context().get_world_rank() == 0:
        refusal: Path = config["refusal"]
        refusal.parent.mkdir(parents=True, exist_ok=True)
        refusal.write_text(told, encoding="utf-8")


@contextmanager
def telling(done: Callable[[], int | None], advance: Callable[[int], None]) -> Iterator[None]:
    """Tell of everything that is done, while something else waits for the training. done: how much; None if
    nothing is known yet."""
    ended = threading.Event()
    watcher = threading.Thread(target=_tell, args=(done, advance, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _tell(done: Callable[[], int | None], advance: Callable[[int], None], ended: threading.Event) -> None:
    told = 0
    while not ended.wait(_POLL_S):
        now = done()
        if now is not None and now != told:
            told = now
            advance(told)
