"""Training samples as a detector's batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from xpaste_ray.models.detector_heads import Target
from xpaste_ray.torch import detection_collate, detection_target, image_tensor
from xpaste_ray.training.known import absent_where_unlabelled
from xpaste_ray.training.samples import TrainingSample, TrainingSamples
from xpaste_ray.worker import prepare_worker

_LEAST_SIDE_PX = 1.0  # of a box, in both directions; torchvision refuses none

Batch = tuple[list[int], tuple[torch.Tensor, ...], tuple[Target, ...]]


class DetectorImages(Dataset[tuple[int, torch.Tensor, Target]]):
    """Item i is sample i: its number, (3, H, W) uint8, and what `DetectorHeads` wants of it."""

    def __init__(self, samples: TrainingSamples, category_ids: Sequence[int]) -> None:
        """category_ids: by label, from label 1 on."""
        self._samples, self._ids = samples, tuple(category_ids)
        self._labels = np.full(max(self._ids) + 1, -1)
        self._labels[list(self._ids)] = np.arange(1, len(self._ids) + 1)

    def __getitem__(self, number: int) -> tuple[int, torch.Tensor, Target]:
        found = self._samples[number]
        return number, image_tensor(found.image).as_subclass(torch.Tensor), self._target(found)

    def _target(self, found: TrainingSample) -> Target:
        """Without crowds, which are no objects, and what has no extent."""
        target = detection_target(found.sample)
        boxes = target["boxes"].as_subclass(torch.Tensor)
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = (sides >= _LEAST_SIDE_PX).all(dim=1) & (target["iscrowd"] == 0)
        absent = absent_where_unlabelled(found.sample, self._ids)
        return {
            "boxes": boxes[kept],
            "labels": torch.from_numpy(self._labels[target["labels"][kept].numpy()]),
            "masks": target["masks"].as_subclass(torch.Tensor)[kept],
            "pasted": torch.tensor(found.pasted, dtype=torch.bool)[kept],
            "absent": torch.from_numpy(np.append(True, absent)),
        }


@dataclass(frozen=True, slots=True)
class SampleNumbers:
    """Of one process's part of each batch, from iteration `first` on; iterations count from 0."""

    first: int
    end: int
    batch: int
    rank: int
    processes: int

    def __len__(self) -> int:
        return self.end - self.first

    def __iter__(self) -> Iterator[list[int]]:
        for iteration in range(self.first, self.end):
            begin = iteration * self.batch
            yield list(range(begin + self.rank, begin + self.batch, self.processes))


def batches(images: DetectorImages, numbers: SampleNumbers, workers: int) -> Iterator[Batch]:
    """Those of the numbers, in order, made ahead by `workers` processes, or here if there are none."""
    loader: DataLoader[Any] = DataLoader(
        images,
        batch_sampler=numbers,
        num_workers=workers,
        collate_fn=_collated,
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=_prepare if workers else None,
    )
    yield from loader


def _prepare(worker: int) -> None:
    torch.set_num_threads(1)
    prepare_worker()


def _collated(items: Sequence[tuple[int, torch.Tensor, Target]]) -> Batch:
    images, targets = detection_collate([item[1:] for item in items])
    return [item[0] for item in items], images, targets
