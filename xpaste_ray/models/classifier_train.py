"""Training a classifier on image labels: multi-label, resumable, by one process or several.

    <work>/last.safetensors    network and optimizer after the last epoch, and the record so far
    <work>/best.safetensors    the network after the best epoch
    <work>/training.json       the record so far, for whoever watches
    <folder>/                  the finished classifier; written whole, at the end

What is made follows from the task and the images. The number of processes changes rounding only: they share
each batch, average their gradients, and normalise by what all of them see.
"""

import math
import shutil
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torchvision.models import ResNet

from xpaste_ray.config.classifier import ResNetClassifier
from xpaste_ray.errors import ConfigError, RowError, RunError, StorageError
from xpaste_ray.models.classifier_files import (
    CLASSIFIER_FILE,
    WEIGHTS_FILE,
    WEIGHTS_OPTION,
    ClassifierCard,
    card_text,
    weights_folder,
)
from xpaste_ray.models.processes import gathered, prepare_process, rank, wait_for_all, world_size
from xpaste_ray.models.rates import learning_rate, set_rate
from xpaste_ray.models.resnet import load_body, new_resnet
from xpaste_ray.models.segment_picture import in_square
from xpaste_ray.models.shared_norm import SharedBatchNorm2d
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
from xpaste_ray.models.training_images import TrainingImages, batches, epoch_order, split, varied
from xpaste_ray.models.training_record import (
    PLOT_FILE,
    TRAINING_FILE,
    Epoch,
    TrainingRecord,
    has_ended,
    plot_png,
    record_of,
)
from xpaste_ray.rng import int_seed_for

_LAST, _BEST = "last.safetensors", "best.safetensors"

_WARM_UP = 0.1  # part of all steps in which the rate rises
_MAX_WEIGHT = 10.0  # of an image that shows a category, against one that does not
_JUDGED_AT_ONCE = 16  # images; always in that shape


@dataclass(frozen=True, slots=True)
class TrainingTask:
    """What is trained, and where. recipe: a fingerprint of all that the result follows from; another one's
    unfinished work is not continued."""

    settings: ResNetClassifier
    card: ClassifierCard
    seed: int
    recipe: str
    folder: Path
    work: Path


def train(task: TrainingTask, images: TrainingImages, device: str = "cpu") -> TrainingRecord:
    """Train until the task's end and write its classifier; continue where an earlier try stopped.

    Every process of the group calls it, with the same arguments. ConfigError if there is nothing to train on,
    or the weights are another network's, and RunError if it diverges, in every process; StorageError, in one
    of them, if an image that it has to read is gone.
    """
    prepare_process(device, task.settings.train_threads)
    with ThreadPoolExecutor(task.settings.train_threads) as threads:
        training = _Training(task, images, device, threads)
        while not has_ended(training.record.epochs, task.settings.epochs, task.settings.patience):
            training.one_more_epoch()
    if rank() == 0:
        _finish(task, training.record)
    wait_for_all()
    return training.record


class _Training:
    """The network, the optimizer and the record between two epochs."""

    def __init__(
        self, task: TrainingTask, images: TrainingImages, device: str, threads: ThreadPoolExecutor
    ) -> None:
        self._task, self._images, self._device, self._threads = task, images, device, threads
        usable, skipped = _usable(images, threads)
        if not usable:
            raise ConfigError(_nothing_usable(len(images), skipped))
        self._split = split(images, usable, task.settings.held_out, task.seed)
        self._output = {number: place for place, (number, _) in enumerate(task.card.categories)}
        self._network = _new_network(task).to(device)
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(),
            lr=task.settings.learning_rate,
            weight_decay=task.settings.weight_decay,
            foreach=False,
        )
        held = self._truth(self._split.held_out)
        self.record = TrainingRecord(
            task.recipe,
            (),
            len(self._split.training),
            len(self._split.held_out),
            int(held.any(axis=0).sum()),
            dict(sorted(skipped.items())),
        )
        self._continue()
        self._weights = self._positive_weights()
        self._parallel: nn.Module = self._network
        if world_size() > 1:
            self._parallel = DistributedDataParallel(self._network, broadcast_buffers=False)

    def one_more_epoch(self) -> None:
        """Train on every image once, judge by the held-out ones, and keep what there is."""
        number = len(self.record.epochs) + 1
        loss = self._train(number)
        if not math.isfinite(loss):
            raise RunError(
                f"the classifier's training diverged in epoch {number}: lower "
                "foregrounds.classifier.learning_rate, then run the same command again"
            )
        epoch = Epoch(number, loss, *self._judge())
        self.record = replace(self.record, epochs=(*self.record.epochs, epoch))
        if rank() == 0:
            self._keep()

    def _train(self, number: int) -> float:
        """The mean loss."""
        self._parallel.train()
        order = epoch_order(self._split.training, self._task.seed, number)
        shared = batches(order, self._task.settings.batch)
        own = [batch[rank() :: world_size()] for batch in shared]
        total = 0.0
        for place, (batch, pictures) in enumerate(zip(shared, self._pictures(own, number), strict=True)):
            step = (number - 1) * len(shared) + place
            self._set_rate(step, self._task.settings.epochs * len(shared))
            loss = self._loss(own[place], pictures) / len(batch)
            self._optimizer.zero_grad()
            (loss * world_size()).backward()  # type: ignore[no-untyped-call]  # the gradients are averaged
            self._optimizer.step()
            total += float(loss.detach()) * len(batch)
        return sum(gathered(total)) / len(order)

    def _loss(self, numbers: Sequence[int], pictures: Sequence[np.ndarray]) -> torch.Tensor:
        """The sum over these images of the mean over the categories."""
        truth = torch.from_numpy(self._truth(numbers).astype(np.float32)).to(self._device)
        logits = self._parallel(self._pixels(pictures))
        each = functional.binary_cross_entropy_with_logits(
            logits, truth, pos_weight=self._weights, reduction="none"
        )
        return each.sum() / len(self._output)

    @torch.no_grad()
    def _judge(self) -> tuple[float | None, float | None]:
        """The mean average precision and the loss of the held-out images; None without any to judge by."""
        if not self.record.judged:
            return None, None
        self._network.eval()
        own = self._split.held_out[rank() :: world_size()]
        found = []
        for batch, pictures in zip(_chunks(own), self._pictures(_chunks(own), None), strict=True):
            padded = [*pictures, *[pictures[-1]] * (_JUDGED_AT_ONCE - len(pictures))]
            logits = self._network(self._pixels(padded))[: len(batch)]
            found += list(zip(batch, logits.double().cpu().numpy(), strict=True))
        logits_of = dict(one for part in gathered(found) for one in part)
        scores = np.stack([logits_of[i] for i in self._split.held_out])
        truth = self._truth(self._split.held_out)
        loss = np.logaddexp(0, np.where(truth, -scores, scores)).mean()
        return mean_average_precision(truth, scores), float(loss)

    def _pictures(self, parts: Iterable[Sequence[int]], epoch: int | None) -> Iterator[list[np.ndarray]]:
        """Each part's pictures, the next part's being made meanwhile. epoch: for which they are varied."""
        ahead: deque[list[Future[np.ndarray]]] = deque()
        for part in parts:
            ahead.append([self._threads.submit(self._picture, i, epoch) for i in part])
            if len(ahead) > 1:
                yield [one.result() for one in ahead.popleft()]
        while ahead:
            yield [one.result() for one in ahead.popleft()]

    def _picture(self, number: int, epoch: int | None) -> np.ndarray:
        key, side = self._images.key(number), self._task.card.side_px
        try:
            image = self._images.load(number)
        except RowError as error:
            raise StorageError(
                f"{key} could be read when the training began, and now it cannot ({error}): put it back, or "
                "run the same command again to go on without it"
            ) from error
        return in_square(image, side) if epoch is None else varied(image, side, self._task.seed, epoch, key)

    def _pixels(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        side, card = self._task.card.side_px, self._task.card
        stacked = np.stack(pictures) if pictures else np.zeros((0, side, side, 3), np.uint8)
        pixels = torch.from_numpy(stacked).to(self._device).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(one, device=self._device).view(3, 1, 1) for one in (card.mean, card.std))
        return (pixels - mean) / std

    def _truth(self, numbers: Sequence[int]) -> np.ndarray:
        """(n, C) bool."""
        truth = np.zeros((len(numbers), len(self._output)), bool)
        for row, i in enumerate(numbers):
            truth[row, [self._output[label] for label in self._images.labels(i)]] = True
        return truth

    def _positive_weights(self) -> torch.Tensor:
        """How much more an image counts that shows a category: the root of how many there are that do not,
        for each. Rare categories are learnt so, and probabilities stay near the truth."""
        shown = self._truth(self._split.training).sum(axis=0)
        others = len(self._split.training) - shown
        weights = np.sqrt(others / np.maximum(shown, 1)).clip(1, _MAX_WEIGHT)
        return torch.tensor(weights, dtype=torch.float32, device=self._device)

    def _set_rate(self, step: int, steps: int) -> None:
        warm_up = max(1, round(_WARM_UP * steps))
        set_rate(self._optimizer, learning_rate(step, steps, self._task.settings.learning_rate, warm_up))

    def _keep(self) -> None:
        """The best first: what `last` tells of is there then."""
        self._task.work.mkdir(parents=True, exist_ok=True)
        network, text = self._network.state_dict(), self.record.text()
        if self.record.best is self.record.epochs[-1]:
            save_tensors({name: value.cpu() for name, value in network.items()}, self._task.work / _BEST)
        tensors = named("network", network) | named("optimizer", optimizer_tensors(self._optimizer))
        save_tensors(tensors, self._task.work / _LAST, text)
        write_file(self._task.work / TRAINING_FILE, text.encode())

    def _continue(self) -> None:
        """Take up what `_keep` kept, if it is of this task and these images."""
        kept = load_tensors(self._task.work / _LAST)
        if kept is None:
            return
        tensors, text = kept
        told = record_of(text)
        if told is None or replace(told, epochs=()) != self.record:
            return
        self._network.load_state_dict(under("network", tensors))
        restore_optimizer(self._optimizer, under("optimizer", tensors))
        self.record = told


def mean_average_precision(truth: np.ndarray, scores: np.ndarray) -> float | None:
    """Of the categories that at least one image shows; None if there is none. Both (n, C)."""
    shown = np.flatnonzero(truth.any(axis=0))
    if not len(shown):
        return None
    return float(np.mean([average_precision_score(truth[:, c], scores[:, c]) for c in shown]))


def _new_network(task: TrainingTask) -> ResNet:
    """As the task's weights and seed say."""
    arch, outputs = task.card.arch, len(task.card.categories)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int_seed_for(task.seed, "classifier-network"))
        network = new_resnet(arch, outputs, SharedBatchNorm2d)
    if (folder := weights_folder(task.settings)) is not None:
        load_body(network, folder, arch, WEIGHTS_OPTION)
    return network


def _usable(images: TrainingImages, threads: ThreadPoolExecutor) -> tuple[list[int], Counter[str]]:
    """Which images can be read, and why others cannot. Each process looks at its share."""

    def reason(number: int) -> str | None:
        try:
            images.load(number)
        except RowError as error:
            return error.reason
        return None

    own = range(rank(), len(images), world_size())
    reasons = dict(
        one for part in gathered(list(zip(own, threads.map(reason, own), strict=True))) for one in part
    )
    usable = [i for i in range(len(images)) if reasons[i] is None]
    return usable, Counter(told for told in reasons.values() if told is not None)


def _nothing_usable(count: int, skipped: Mapping[str, int]) -> str:
    why = ", ".join(f"{reason} {number}" for reason, number in sorted(skipped.items()))
    return (
        f"foregrounds.images: none of {count} images can be used to train on"
        f"{f' ({why})' if why else ''}: give a folder with readable images"
    )


def _chunks(numbers: Sequence[int]) -> list[Sequence[int]]:
    return [numbers[i : i + _JUDGED_AT_ONCE] for i in range(0, len(numbers), _JUDGED_AT_ONCE)]


def _finish(task: TrainingTask, record: TrainingRecord) -> None:
    with whole_folder(task.folder) as folder:
        shutil.copyfile(task.work / _BEST, folder / WEIGHTS_FILE)
        (folder / CLASSIFIER_FILE).write_text(card_text(task.card), encoding="utf-8")
        (folder / PLOT_FILE).write_bytes(plot_png(record))
        (folder / TRAINING_FILE).write_text(record.text(), encoding="utf-8")
