"""Training the classifier of a run: in one task, or in as many processes as are asked for, through Ray Train.

<run>/classifier/            the finished one
<run>/classifier-training/   what it goes on from if it is stopped
"""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpaste_ray.categories import Category
from xpaste_ray.config import StageResources
from xpaste_ray.config.classifier import ResNetClassifier
from xpaste_ray.errors import ConfigError, RunError, StorageError, XPasteError
from xpaste_ray.fingerprints import fingerprint, hash_parts
from xpaste_ray.models.classifier_files import ClassifierCard, card_of, classifier_name
from xpaste_ray.models.training_images import TrainingImages
from xpaste_ray.models.training_record import TRAINING_FILE, TrainingRecord

if TYPE_CHECKING:
    from xpaste_ray.pipelines.job import Progress

STAGE = "train"

_ALGORITHM = 1  # raised when the code changes what it makes of the same settings
_OF_ITS_USE = {"dtype", "micro_batch", "threads"}  # settings that training does not know
_POLL_S = 1.0
_RETRIES = 3  # of a task or a group whose process dies; each goes on from the last epoch


@dataclass(frozen=True, slots=True)
class TrainedClassifierFolder:
    """A finished one. record: its recipe, its epochs, and the images that could not be used."""

    folder: Path
    record: TrainingRecord
    already_done: bool


def train_classifier(
    run: Path,
    settings: ResNetClassifier,
    images: TrainingImages,
    categories: Sequence[Category],
    seed: int,
    progress: "Progress",
    resources: StageResources,
) -> TrainedClassifierFolder:
    """The run's classifier, trained unless that is done. Ray must have been started.

    categories: all that images may show. resources: of the processes; each is `resources.actors` and has its
    `gpus` and `cpus`. The run's folder must be one that all nodes see. ConfigError; RunError if the training
    diverges, or its processes keep dying.
    """
    folder, work = run / "classifier", run / "classifier-training"
    card = card_of(settings, categories)
    _check_labels(images, card)
    recipe = training_recipe(settings, images, card, seed)
    done = TrainingRecord.read(folder / TRAINING_FILE)
    if done is not None and done.recipe == recipe:
        shutil.rmtree(work, ignore_errors=True)
        return TrainedClassifierFolder(folder, done, already_done=True)
    task = _task(settings, card, seed, recipe, folder, work)
    progress.begin({STAGE: settings.epochs}, "epochs")
    with _telling(work / TRAINING_FILE, recipe, progress):
        (_in_one_task if resources.actors == 1 else _in_a_group)(task, images, resources)
    record = TrainingRecord.read(folder / TRAINING_FILE)
    if record is None or record.recipe != recipe:
        raise RunError(
            f"{folder} holds no finished classifier although its training ended: on several nodes, give "
            "--out on a disk that all of them see, then run the same command again"
        )
    shutil.rmtree(work, ignore_errors=True)
    progress.advance(STAGE, settings.epochs)
    progress.say(described(record))
    return TrainedClassifierFolder(folder, record, already_done=False)


def training_recipe(
    settings: ResNetClassifier, images: TrainingImages, card: ClassifierCard, seed: int
) -> str:
    """A fingerprint of everything that a classifier follows from. Not in it: how many processes train it."""
    told = (f"{images.key(i)}\0{images.labels(i)}\n" for i in sorted(range(len(images)), key=images.key))
    return fingerprint(
        {
            "algorithm": _ALGORITHM,
            "classifier": {
                **settings.model_dump(mode="json", exclude=_OF_ITS_USE),
                "weights": classifier_name(settings),
            },
            "categories": [list(one) for one in card.categories],
            "images": hash_parts(one.encode() for one in told),
            "seed": seed,
        }
    )


def described(record: TrainingRecord) -> str:
    """For people."""
    best, skipped = record.best, sum(record.skipped.values())
    judged = best.mean_average_precision if best else None
    reasons = ", ".join(f"{reason} {count}" for reason, count in record.skipped.items())
    return (
        f"classifier: {len(record.epochs)} epochs of {record.training} images"
        + (f", {skipped} left out ({reasons})" if skipped else "")
        + (
            "; too few images to hold any out, so it is that of the last epoch, and nothing judged it"
            if judged is None
            else f"; epoch {best.number if best else 0} is best: mAP {judged:.3f} of {record.held_out} "
            f"held-out images, {record.judged} categories"
        )
    )


def _check_labels(images: TrainingImages, card: ClassifierCard) -> None:
    known = {number for number, _ in card.categories}
    for i in range(len(images)):
        if unknown := set(images.labels(i)) - known:
            raise ConfigError(
                f"foregrounds.images: {images.key(i)} has the category {min(unknown)}, which is none of "
                "those that are wanted: add it to the vocabulary, or leave the label out"
            )


def _task(
    settings: ResNetClassifier, card: ClassifierCard, seed: int, recipe: str, folder: Path, work: Path
) -> dict[str, Any]:
    """Arguments of a `TrainingTask`: its module loads torch, which the driver does not."""
    return {
        "settings": settings, "card": card, "seed": seed, "recipe": recipe,
        "folder": folder.absolute(), "work": work.absolute(),
    }  # fmt: skip


def _train(task: dict[str, Any], images: TrainingImages, device: str, alone: bool = True) -> str | None:
    """In a process that trains: None, or the message of what is no fault of the process, "class: text".

    alone: else what only one of a group meets is raised, for the others would wait for it; a new group finds
    that image gone from the start.
    """
    from xpaste_ray.models.classifier_train import TrainingTask, train

    try:
        train(TrainingTask(**task), images, device)
    except XPasteError as error:
        if isinstance(error, StorageError) and not alone:
            raise
        return f"{type(error).__name__}: {error}"
    return None


def _raise(told: str | None) -> None:
    if told:
        kind, _, text = told.partition(": ")
        raise (ConfigError if kind == ConfigError.__name__ else RunError)(text)


def _in_one_task(task: dict[str, Any], images: TrainingImages, resources: StageResources) -> None:
    import ray

    remote = ray.remote(max_calls=1)(_train).options(  # its process, and memory, go with it
        num_cpus=resources.cpus,
        num_gpus=resources.gpus or None,
        accelerator_type=resources.accelerator_type,
        max_retries=_RETRIES,
    )
    try:
        told = ray.get(remote.remote(task, images, resources.device))
    except ray.exceptions.RayError as error:
        raise RunError(_died(error)) from error
    _raise(told)


def _in_a_group(task: dict[str, Any], images: TrainingImages, resources: StageResources) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    wanted = {"CPU": resources.cpus, **({"GPU": resources.gpus} if resources.gpus else {})}
    work: Path = task["work"]
    trainer = TorchTrainer(
        _train_as_one,
        train_loop_config={"task": task, "images": images},
        scaling_config=ScalingConfig(
            num_workers=resources.actors,
            use_gpu=bool(resources.gpus),
            resources_per_worker=wanted,
            accelerator_type=resources.accelerator_type,
        ),
        run_config=RunConfig(
            name=f"group-{task['recipe']}",
            storage_path=str(work),
            failure_config=FailureConfig(max_failures=_RETRIES),
        ),
    )
    refusal = work / _REFUSAL
    refusal.unlink(missing_ok=True)
    try:
        trainer.fit()
    except Exception as error:
        raise RunError(_died(error)) from error
    _raise(refusal.read_text(encoding="utf-8") if refusal.exists() else None)


_REFUSAL = "refusal.txt"


def _train_as_one(config: dict[str, Any]) -> None:
    """One process of a group, which Ray Train has put together. What all of them find wrong is left in a
    file: Ray Train would try what is raised again."""
    import ray.train
    import ray.train.torch

    told = _train(config["task"], config["images"], str(ray.train.torch.get_device()), alone=False)
    if told and ray.train.get_context().get_world_rank() == 0:
        work: Path = config["task"]["work"]
        work.mkdir(parents=True, exist_ok=True)
        (work / _REFUSAL).write_text(told, encoding="utf-8")


def _died(error: Exception) -> str:
    return (
        f"the classifier's training stopped ({error}): check the memory and the GPUs of its nodes, then run "
        "the same command again; it goes on from the last whole epoch"
    )


@contextmanager
def _telling(path: Path, recipe: str, progress: "Progress") -> Iterator[None]:
    """Tell of every epoch that the file has, while something else waits for the training."""
    ended = threading.Event()
    watcher = threading.Thread(target=_tell, args=(path, recipe, progress.advance, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _tell(path: Path, recipe: str, advance: Callable[[str, int], None], ended: threading.Event) -> None:
    told = 0
    while not ended.wait(_POLL_S):
        record = TrainingRecord.read(path)
        if record is not None and record.recipe == recipe and len(record.epochs) != told:
            told = len(record.epochs)
            advance(STAGE, told)
