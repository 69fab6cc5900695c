"""`xpaste train`: a detector of a labelled dataset, with what is pasted on it, or stands beside it.

<run>/detector/    the finished one: model.safetensors, detector.json, training.json, curves.png
<run>/training/    what it goes on from if it is stopped
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from xpaste_ray.backgrounds import AnyBackgrounds, Backgrounds, resolve_source
from xpaste_ray.compose.recipe import compose_recipe
from xpaste_ray.config import TrainSettings
from xpaste_ray.errors import ConfigError, RunError
from xpaste_ray.models.detector_files import DetectorCard, detector_card, weights_name
from xpaste_ray.models.detector_record import TRAINING_FILE, DetectorRecord
from xpaste_ray.pipelines.backgrounds import index_backgrounds
from xpaste_ray.pipelines.job import Progress, Summary, finish, start_ray
from xpaste_ray.pipelines.resources import cpus_booked, train_resources
from xpaste_ray.pipelines.steps import Step, chain, open_backgrounds
from xpaste_ray.pipelines.training import telling, train_on_ray
from xpaste_ray.pool import Pool, open_pool
from xpaste_ray.runs import RunDir, check_steps, open_run
from xpaste_ray.training.opening import Mixed, open_samples
from xpaste_ray.training.samples import TrainingSamples

STAGE = "train"

_ALGORITHM = 1  # raised when the code changes what it makes of the same settings
_OF_NO_EFFECT = {"workers", "evaluate_every", "checkpoint_every"}  # on the weights
_OF_OTHER_USE = ("count", "samples_per_shard", "background_draw", "output")  # of compose, not of a training


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a detector is trained on, as a user writes it; the main dataset is `compose.backgrounds`.

    paste: a pool. mix: datasets that stand beside it, each with its share of all images. validation: a
    dataset.
    """

    paste: str | None = None
    mix: tuple[tuple[str, float], ...] = ()
    validation: str | None = None
    validation_images: str | None = None


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """The same, opened and checked."""

    settings: TrainSettings
    backgrounds: AnyBackgrounds
    pool: Pool | None
    mixed: tuple[Mixed, ...]
    validation: Backgrounds | None
    samples: TrainingSamples
    card: DetectorCard
    weights: str | None


def resolve_training(settings: TrainSettings, data: TrainingData) -> TrainingInputs:
    """Find and check the data and the weights. Raises ConfigError."""
    settings = _with_copy_rule(settings, data.paste)
    resources, training = settings.resources, settings.train
    indexed = partial(index_backgrounds, workers=resources.compose.actors, ray_cpus=cpus_booked(resources))
    backgrounds = open_backgrounds(settings)
    pool = None if data.paste is None else open_pool(data.paste)
    mixed = tuple(Mixed(text, indexed(resolve_source(text)), share) for text, share in data.mix)
    _check_shares(data.mix)
    samples = open_samples(backgrounds, pool, mixed, settings.compose, training, settings.seed)
    validation = None
    if data.validation is not None:
        validation = indexed(resolve_source(data.validation, data.validation_images))
    card = detector_card(training.detector, samples.categories)
    _check_vocabulary(card, validation)
    return TrainingInputs(
        settings, backgrounds, pool, mixed, validation, samples, card, weights_name(training.detector)
    )


def _with_copy_rule(settings: TrainSettings, paste: str | None) -> TrainSettings:
    """Without a pool nothing of one is pasted: a preset's rule is about what there is to paste. ConfigError
    if the rule does not go with what is given."""
    compose = settings.compose
    if paste is None and compose.needs_pool:
        if compose.copy_rule not in ("pool", "both"):
            raise ConfigError(
                f"compose.copy_rule={compose.copy_rule} pastes instances of a pool: give one with --paste, "
                "or set compose.copy_rule to self or none"
            )
        rule = "none" if compose.copy_rule == "pool" else "self"
        compose = compose.model_copy(update={"copy_rule": rule})
    if paste is not None and not compose.needs_pool:
        raise ConfigError(
            f"--paste {paste}: compose.copy_rule={compose.copy_rule} pastes nothing of a pool: leave --paste "
            "out, or set compose.copy_rule to pool or both"
        )
    return settings.model_copy(update={"compose": compose})


def _check_shares(mix: tuple[tuple[str, float], ...]) -> None:
    shares = [share for _, share in mix]
    if any(not 0 < share < 1 for share in shares) or sum(shares) >= 1:
        raise ConfigError(
            f"--mix: shares are {', '.join(f'{share:g}' for share in shares)}: each must be between 0 and 1, "
            "and all together below 1, for the rest is --train's"
        )


def _check_vocabulary(card: DetectorCard, validation: Backgrounds | None) -> None:
    """ConfigError if a category is called differently in the validation's dataset."""
    known = dict(card.categories)
    for category in validation.categories if validation else ():
        name = known.get(category.id, category.name)
        if name != category.name:
            raise ConfigError(
                f"--val calls category {category.id} {category.name!r} and --train calls it {name!r}: give "
                "datasets with the same categories"
            )


def training_step(inputs: TrainingInputs) -> Step:
    """Everything that a detector follows from. Not in it: how many processes train it."""
    settings = inputs.settings
    composed = compose_recipe(settings.compose, inputs.backgrounds, settings.seed)
    for name in _OF_OTHER_USE:
        composed["compose"].pop(name)
    detector = {**settings.train.detector.model_dump(mode="json"), "weights": inputs.weights}
    told: dict[str, Any] = {
        "algorithm": _ALGORITHM,
        "train": settings.train.model_dump(mode="json", exclude=_OF_NO_EFFECT) | {"detector": detector},
        "data": {
            **composed,
            "pool": None if inputs.pool is None else inputs.pool.fingerprint,
            "mix": [[one.backgrounds.fingerprint, one.share] for one in inputs.mixed],
            "validation": None if inputs.validation is None else inputs.validation.fingerprint,
        },
        "categories": [list(one) for one in inputs.card.categories],
        "seed": settings.seed,
    }
    return chain({STAGE: told})[STAGE]


def train_run(inputs: TrainingInputs, out: str, progress: Progress) -> Summary:
    """Train, or go on, in `out`. The same inputs give the same weights, however often it was interrupted.
    ConfigError before anything starts if something cannot work; RunError if the training diverges, or its
    processes keep dying."""
    began = time.perf_counter()
    if "://" in out:
        raise ConfigError(f"--out {out}: a detector is trained in a local or shared folder: give one")
    step = training_step(inputs)
    with open_run(out, progress.say) as run:
        check_steps(run, {STAGE: step.settings})
        job = TrainingJob(run, inputs, {STAGE: step}, progress)
        return finish(run, job, inputs.settings.model_dump(mode="json"), progress, began)


@dataclass(slots=True)
class TrainingJob:
    """The work on one run, from what its folder already has."""

    run: RunDir
    inputs: TrainingInputs
    steps: Mapping[str, Step]
    progress: Progress
    summary: Summary = field(default_factory=Summary)

    @property
    def folder(self) -> Path:
        return self.run.root.path / "detector"

    @property
    def work(self) -> Path:
        return self.run.root.path / "training"

    def is_done(self) -> bool:
        return self._done() is not None and self.run.run_json.exists()

    def make(self) -> None:
        record = self._done() or self._train()
        shutil.rmtree(self.work, ignore_errors=True)
        validated = record.validated[-1] if record.validated else None
        self.summary.counts = {
            "train": {
                "iterations": record.iterations,
                "images": record.iterations * self.inputs.settings.train.batch,
                "loss": record.windows[-1].loss,
            },
            **({"validation": {"segm": validated.segm, "bbox": validated.bbox}} if validated else {}),
        }

    def _done(self) -> DetectorRecord | None:
        return self._record(self.folder)

    def _record(self, folder: Path) -> DetectorRecord | None:
        record = DetectorRecord.read(folder / TRAINING_FILE)
        return record if record is not None and record.recipe == self.steps[STAGE].fingerprint else None

    def _train(self) -> DetectorRecord:
        from xpaste_ray.pipelines.ray_profile import cluster_nodes, starts_here

        inputs, training = self.inputs, self.inputs.settings.train
        began = time.perf_counter()
        if starts_here():
            self.progress.say("starting Ray")
        start_ray(inputs.settings.resources, self.progress)
        resources = train_resources(inputs.settings.resources, cluster_nodes())
        self.progress.begin({STAGE: training.iterations}, "iterations")
        with telling(self._iterations, partial(self.progress.advance, STAGE)):
            train_on_ray(
                partial(_train, self._task(), inputs.samples, inputs.validation),
                resources,
                self.work,
                self.steps[STAGE].fingerprint,
                "the detector's",
            )
        record = self._done()
        if record is None:
            raise RunError(
                f"{self.folder} holds no finished detector although its training ended: on several nodes, "
                "give --out on a disk that all of them see, then run the same command again"
            )
        self.progress.advance(STAGE, training.iterations)
        self.summary.note(STAGE, training.iterations * training.batch, time.perf_counter() - began)
        return record

    def _iterations(self) -> int | None:
        record = self._record(self.work)
        return None if record is None else record.done

    def _task(self) -> dict[str, Any]:
        """Arguments of a `DetectorTask`: its module loads torch, which the driver does not."""
        return {
            "settings": self.inputs.settings.train, "card": self.inputs.card,
            "seed": self.inputs.settings.seed, "recipe": self.steps[STAGE].fingerprint,
            "folder": self.folder.absolute(), "work": self.work.absolute(),
        }  # fmt: skip


def _train(
    task: dict[str, Any], samples: TrainingSamples, validation: Backgrounds | None, device: str
) -> None:
    """In a process that trains."""
    from xpaste_ray.models.detector_train import DetectorTask, train_detector

    train_detector(DetectorTask(**task), samples, validation, device)
