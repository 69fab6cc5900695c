"""Training the classifier of a run: in one task, or in as many processes as are asked for, through Ray Train.

<run>/classifier/            the finished one
<run>/classifier-training/   what it goes on from if it is stopped
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpaste_ray.categories import Category
from xpaste_ray.config import StageResources
from xpaste_ray.config.classifier import ResNetClassifier
from xpaste_ray.errors import ConfigError, RunError
from xpaste_ray.fingerprints import fingerprint, hash_parts
from xpaste_ray.models.classifier_files import ClassifierCard, card_of, classifier_name
from xpaste_ray.models.training_images import TrainingImages
from xpaste_ray.models.training_record import TRAINING_FILE, TrainingRecord
from xpaste_ray.pipelines.training import telling, train_on_ray

if TYPE_CHECKING:
    from xpaste_ray.pipelines.job import Progress

STAGE = "train"

_ALGORITHM = 1  # raised when the code changes what it makes of the same settings
_OF_ITS_USE = {"dtype", "micro_batch", "threads"}  # settings that training does not know


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
    with telling(partial(_epochs, work / TRAINING_FILE, recipe), partial(progress.advance, STAGE)):
        train_on_ray(partial(_train, task, images), resources, work, recipe, "the classifier's")
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


def _epochs(path: Path, recipe: str) -> int | None:
    """How many are done."""
    record = TrainingRecord.read(path)
    return len(record.epochs) if record is not None and record.recipe == recipe else None


def _train(task: dict[str, Any], images: TrainingImages, device: str) -> None:
    """In a process that trains."""
    from xpaste_ray.models.classifier_train import TrainingTask, train

    train(TrainingTask(**task), images, device)
