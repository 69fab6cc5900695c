"""Composed samples as a PyTorch dataset: pasting while training, as X-Paste does.

dataset = ComposedDataset("runs/lvis", "annotations/lvis_v1_train.json", "xpaste", seed=0)
loader = DataLoader(dataset, batch_size=2, num_workers=8, collate_fn=detection_collate)
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch.utils.data import Dataset
from torchvision import tv_tensors

from xpaste_ray.backgrounds import AnyBackgrounds, open_or_index, resolve_source, with_contexts
from xpaste_ray.categories import Category
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.plan import PastePlan
from xpaste_ray.compose.shards import merged_categories
from xpaste_ray.config import ComposeSettings, DatasetSettings, load
from xpaste_ray.pool import Pool, open_pool
from xpaste_ray.samples import Sample

Target = dict[str, Any]
Transforms = Callable[[Any, Target], tuple[Any, Target]]


class ComposedDataset(Dataset[tuple[torch.Tensor, Target]]):
    """Sample i is the same in any order, in any worker process, in any run with the same arguments.

    pool: a run, a pool's folder, or an open pool. backgrounds: as `compose.backgrounds`, or open ones; with
    those of the options' `contexts` beside them.
    options: the name of a preset, or its `compose` section. transforms: called with (image, target), as
    those of torchvision.transforms.v2; where they crop, end with
    `v2.SanitizeBoundingBoxes(labels_getter=per_object)`, which drops what they cut away.
    """

    def __init__(
        self,
        pool: str | Path | Pool,
        backgrounds: str | Path | AnyBackgrounds,
        options: str | ComposeSettings = "xpaste",
        seed: int = 0,
        transforms: Transforms | None = None,
    ) -> None:
        """ConfigError if anything is missing or cannot work together."""
        pool = pool if isinstance(pool, Pool) else open_pool(pool)
        if isinstance(options, str):
            options = load(DatasetSettings, options).compose
        if not isinstance(backgrounds, AnyBackgrounds):
            source = resolve_source(backgrounds, options.background_images, options.background_column)
            backgrounds = open_or_index(source)
        backgrounds = backgrounds.without_categories(options.exclude_categories)
        backgrounds = with_contexts(backgrounds, options.contexts, open_or_index)
        pool = pool.in_vocabulary(backgrounds.categories)
        self.categories: tuple[Category, ...] = merged_categories(pool.categories, backgrounds.categories)
        self._transforms = transforms
        self._count = options.count
        self._epoch = 0
        self._compositor = Compositor(pool, backgrounds, options, seed)

    def __len__(self) -> int:
        """`count` of the options."""
        return self._count

    def set_epoch(self, epoch: int) -> None:
        """Go on with the next `count` samples of the endless row; before workers start, as in
        `DistributedSampler.set_epoch`."""
        self._epoch = epoch

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        """(3, H, W) uint8 RGB and its target, see `detection_target`."""
        composed = self._compositor.compose(self._number(index))
        image = image_tensor(composed.image)
        target = detection_target(composed.sample)
        return self._transforms(image, target) if self._transforms else (image, target)

    def plan(self, index: int) -> PastePlan:
        """How the item of this index is made."""
        return self._compositor.plan(self._number(index))

    def _number(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self._epoch * len(self) + index % len(self)


def image_tensor(rgb: np.ndarray) -> tv_tensors.Image:
    """(H, W, 3) uint8 to (3, H, W) uint8."""
    return tv_tensors.Image(torch.from_numpy(rgb.transpose(2, 0, 1).copy()))


def detection_target(sample: Sample) -> Target:
    """The target of torchvision's detection models.

    boxes: (N, 4) float32 xyxy in pixels; labels: (N,) int64, category ids; masks: (N, H, W) uint8;
    area: (N,) float32; iscrowd: (N,) int64; image_id: the sample's number; pasted: (N,) bool, false for
    the background's own objects (X-Paste switches losses by it).
    """
    size_hw = (sample.height, sample.width)
    annotations = sample.annotations
    x, y, width, height = np.array([a.bbox for a in annotations], np.float32).reshape(-1, 4).T
    masks = np.zeros((len(annotations), *size_hw), np.uint8)
    for mask, annotation in zip(masks, annotations, strict=True):
        mask[:] = coco_mask.decode(annotation.segmentation)
    boxes = torch.from_numpy(np.stack([x, y, x + width, y + height], axis=1))
    return {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size_hw),
        "labels": torch.tensor([a.category_id for a in annotations], dtype=torch.int64),
        "masks": tv_tensors.Mask(torch.from_numpy(masks)),
        "area": torch.tensor([a.area for a in annotations], dtype=torch.float32),
        "iscrowd": torch.tensor([a.iscrowd for a in annotations], dtype=torch.int64),
        "image_id": sample.index,
        "pasted": torch.tensor([a.origin != "background" for a in annotations], dtype=torch.bool),
    }


def per_object(inputs: tuple[Any, Target]) -> tuple[torch.Tensor, ...]:
    """`labels_getter` of torchvision's `SanitizeBoundingBoxes`: all that a target has one of for each box,
    beside boxes and masks."""
    return tuple(inputs[1][name] for name in ("labels", "area", "iscrowd", "pasted"))


def detection_collate(
    batch: Sequence[tuple[torch.Tensor, Target]],
) -> tuple[tuple[torch.Tensor, ...], tuple[Target, ...]]:
    """Images and targets as tuples: they differ in size and number."""
    images, targets = zip(*batch, strict=True)
    return images, targets
