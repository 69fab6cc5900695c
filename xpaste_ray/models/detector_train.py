"""Training a detector: resumable after any checkpoint, by one process or several.

    <work>/last.safetensors    network, average, optimizer, and the record so far
    <work>/training.json       the record so far, for whoever watches
    <folder>/                  the finished detector, with the averaged weights; written whole, at the end

Which images an iteration has, and what is drawn of each, follows from the seed and the images' numbers in the
endless row of samples; so does everything else. A training that is continued gives the bytes of one that was
never stopped, and the number of processes changes rounding only.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.config.train import TrainingSettings
from xpaste_ray.errors import ConfigError, RunError
from xpaste_ray.evaluation.average_precision import evaluate
from xpaste_ray.evaluation.detections import predictions_of
from xpaste_ray.evaluation.truth import Truth, TruthImage, truth_of
from xpaste_ray.models.detector import detect
from xpaste_ray.models.detector_data import Batch, DetectorImages, SampleNumbers, batches
from xpaste_ray.models.detector_files import DETECTOR_FILE, WEIGHTS_FILE, DetectorCard, card_text
from xpaste_ray.models.detector_heads import Losses, keyed_samplers
from xpaste_ray.models.detector_network import new_network, rest_body
from xpaste_ray.models.detector_record import (
    CURVES_FILE,
    TRAINING_FILE,
    DetectorRecord,
    Validated,
    Window,
    curves_png,
    record_of,
)
from xpaste_ray.models.precision import computing_in
from xpaste_ray.models.processes import gathered, prepare_process, rank, wait_for_all, world_size
from xpaste_ray.models.rates import learning_rate, set_rate
from xpaste_ray.models.training_files import (
    load_tensors,
    named,
    optimizer_tensors,
    restore_optimizer,
    save_tensors,
    under,
    whole_folder,
    write_file,
)
from xpaste_ray.training.samples import TrainingSamples

WINDOW = 20
"""Iterations whose losses are told together; checkpoints and validations are at ends of windows."""

_LAST = "last.safetensors"
_MOMENTUM = 0.9  # of SGD
_JUDGED_AT_ONCE = 8  # images


@dataclass(frozen=True, slots=True)
class DetectorTask:
    """What is trained, and where. recipe: a fingerprint of all that the weights follow from; another one's
    unfinished work is not continued."""

    settings: TrainingSettings
    card: DetectorCard
    seed: int
    recipe: str
    folder: Path
    work: Path


def train_detector(
    task: DetectorTask, samples: TrainingSamples, validation: Backgrounds | None, device: str = "cpu"
) -> DetectorRecord:
    """Train until the task's end and write its detector; continue where an earlier try stopped.

    Every process of the group calls it, with the same arguments. ConfigError if weights are another
    network's or the batch cannot be shared, and RunError if it diverges, in every process.
    """
    if task.settings.batch % world_size():
        raise ConfigError(
            f"train.batch is {task.settings.batch} and {world_size()} processes train: give a batch that "
            "they can share equally, or another resources.train.actors"
        )
    prepare_process(device, task.settings.threads)
    training = _Training(task, samples, validation, device)
    training.run()
    if rank() == 0:
        _finish(task, training)
    wait_for_all()
    return training.record


class _Training:
    """Network, average, optimizer and record between two windows."""

    def __init__(
        self, task: DetectorTask, samples: TrainingSamples, validation: Backgrounds | None, device: str
    ) -> None:
        self._task, self._device, self._validation = task, device, validation
        self._truth: Truth | None = None if validation is None else truth_of(validation)
        self._images = DetectorImages(samples, task.card.category_ids)
        settings = task.settings
        card = task.card
        begun_from = card.settings.model_copy(update={"weights": settings.detector.weights})
        self.network = new_network(begun_from, len(card.categories), task.seed).to(device)
        heads = self.network.roi_heads
        heads.pasted_box_loss, heads.pasted_mask_loss = settings.pasted_box_loss, settings.pasted_mask_loss
        if settings.detector.weights:
            rest_body(self.network)
        self._optimizer = _optimizer(self.network, settings)
        self.average = AveragedModel(
            self.network, multi_avg_fn=self._averaged, use_buffers=True
        ).requires_grad_(False)
        self.record = DetectorRecord(task.recipe, settings.iterations)
        self._continue()
        self._parallel: nn.Module = self.network
        if world_size() > 1:
            self._parallel = DistributedDataParallel(self.network, broadcast_buffers=False)

    def run(self) -> None:
        """To the end."""
        settings, begun = self._task.settings, self.record.done
        losses: list[dict[str, float]] = []
        workers = settings.workers if torch.device(self._device).type == "cuda" else 0
        numbers = SampleNumbers(begun, settings.iterations, settings.batch, rank(), world_size())
        for iteration, batch in enumerate(batches(self._images, numbers, workers), begun + 1):
            losses.append(self._step(iteration, batch))
            if iteration % WINDOW == 0 or iteration == settings.iterations:
                self._note(iteration, losses)
                losses = []

    def _step(self, iteration: int, batch: Batch) -> dict[str, float]:
        numbers, images, targets = batch
        settings = self._task.settings
        for sampler in keyed_samplers(self.network):
            sampler.numbers = numbers
        rate = learning_rate(iteration - 1, settings.iterations, settings.learning_rate, settings.warm_up)
        set_rate(self._optimizer, rate)
        shown = [image.to(self._device, non_blocking=True) / 255 for image in images]
        told = [
            {name: value.to(self._device, non_blocking=True) for name, value in target.items()}
            for target in targets
        ]
        with computing_in(settings.dtype, self._device):
            losses: Losses = self._parallel(shown, told)
        total = torch.stack(list(losses.values())).sum()
        self._optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm)
        if not math.isfinite(float(norm)):
            raise RunError(
                f"the training diverged in iteration {iteration}: lower train.learning_rate or raise "
                "train.warm_up, then train into another --out"
            )
        self._optimizer.step()
        self.average.update_parameters(self.network)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _averaged(
        self, averages: Sequence[torch.Tensor], current: Sequence[torch.Tensor], count: torch.Tensor | int
    ) -> None:
        """An exponential average, shorter at first: of few steps, the newest count."""
        decay = min(self._task.settings.ema, (1 + int(count)) / (10 + int(count)))
        for average, value in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def _note(self, iteration: int, losses: Sequence[dict[str, float]]) -> None:
        """The end of a window: what it brought, what validation says, and a checkpoint, if they are due."""
        settings = self._task.settings
        everyone = [one for part in gathered(list(losses)) for one in part]
        means = {name: sum(one[name] for one in everyone) / len(everyone) for name in everyone[0]}
        rate = self._optimizer.param_groups[0]["lr"]
        before, ends = self.record.done, iteration == settings.iterations
        self.record = replace(self.record, windows=(*self.record.windows, Window(iteration, rate, means)))
        if self._truth and (ends or _is_due(before, iteration, settings.evaluate_every)):
            found = self._validated(iteration, self._truth)
            self.record = replace(self.record, validated=(*self.record.validated, found))
        if rank() == 0:
            self._task.work.mkdir(parents=True, exist_ok=True)
            write_file(self._task.work / TRAINING_FILE, self.record.text().encode())
            if _is_due(before, iteration, settings.checkpoint_every) and not ends:
                self._keep()

    def _validated(self, iteration: int, truth: Truth) -> Validated:
        """Every process looks at its share of the images."""
        network = self.average.module.eval()
        found = []
        for part in _parts(truth.images[rank() :: world_size()]):
            assert self._validation is not None
            images = [self._validation.load(image.row) for image in part]
            detected = detect(network, self._task.card, images, self._device, self._task.settings.dtype)
            for image, detections in zip(part, detected, strict=True):
                found += predictions_of(image.id, detections)
        everything = [
            one for share in gathered(found) for one in share if one.category_id in truth.category_ids
        ]
        scores = evaluate(truth, everything)
        return Validated(iteration, asdict(scores.segm), asdict(scores.bbox))

    def _keep(self) -> None:
        tensors = named("network", self.network.state_dict()) | named("average", self.average.state_dict())
        tensors |= named("optimizer", optimizer_tensors(self._optimizer))
        save_tensors(tensors, self._task.work / _LAST, self.record.text())

    def _continue(self) -> None:
        """Take up what `_keep` kept, if it is of this task."""
        kept = load_tensors(self._task.work / _LAST)
        if kept is None:
            return
        tensors, text = kept
        told = record_of(text)
        if told is None or told.recipe != self.record.recipe:
            return
        self.network.load_state_dict(under("network", tensors))
        self.average.load_state_dict(under("average", tensors))
        restore_optimizer(self._optimizer, under("optimizer", tensors))
        self.record = told


def _optimizer(network: nn.Module, settings: TrainingSettings) -> Optimizer:
    """Normalisation and biases do not decay."""
    learnt = [one for one in network.parameters() if one.requires_grad]
    groups = [
        {"params": [one for one in learnt if one.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [one for one in learnt if one.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return SGD(groups, lr=settings.learning_rate, momentum=_MOMENTUM, foreach=False)
    return AdamW(groups, lr=settings.learning_rate, foreach=False)


def _is_due(before: int, now: int, every: int) -> bool:
    """Whether a multiple of `every` has been reached."""
    return now // every > before // every


def _parts(images: Sequence[TruthImage]) -> list[Sequence[TruthImage]]:
    return [images[i : i + _JUDGED_AT_ONCE] for i in range(0, len(images), _JUDGED_AT_ONCE)]


def _finish(task: DetectorTask, training: _Training) -> None:
    weights = {name: value.cpu() for name, value in training.average.module.state_dict().items()}
    with whole_folder(task.folder) as folder:
        save_tensors(weights, folder / WEIGHTS_FILE)
        (folder / DETECTOR_FILE).write_text(card_text(task.card), encoding="utf-8")
        (folder / TRAINING_FILE).write_text(training.record.text(), encoding="utf-8")
        (folder / CURVES_FILE).write_bytes(curves_png(training.record))
