"""Mask R-CNN of torchvision: the instances of the categories that it was trained on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2

from xpaste_ray.config.segment import MaskRcnnMethod
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.device import usable_device
from xpaste_ray.models.folders import MASK_RCNN_FILE, SEGMENTER_OPTION, model_folder
from xpaste_ray.models.precision import computing_in, images_at_once
from xpaste_ray.models.segmenters import Shown, SoftMask
from xpaste_ray.models.vocabulary import Vocabulary

_WEIGHTS_FILE = "model.safetensors"


class MaskRcnnSegmenter:
    """The instances of the image's category, best first. Raises ConfigError.

    The network is `maskrcnn_resnet50_fpn_v2`, its folder what `save_mask_rcnn` writes. An image is scaled
    until its longer side is `side_px`, and padded to a square: so every batch has one shape. (torchvision
    scales the shorter side to 800: the same for square images.)
    """

    def __init__(self, settings: MaskRcnnMethod, device: str = "cpu") -> None:
        folder = model_folder(settings.model, SEGMENTER_OPTION, MASK_RCNN_FILE)
        self._settings, self._device = settings, usable_device(device)
        self.micro_batch = images_at_once(settings.micro_batch, device)
        names = _read_categories(folder)
        self._vocabulary = Vocabulary(dict(enumerate(names[1:], start=1)))
        self.refusal = self._vocabulary.refusal
        self._network = _load(folder, len(names), settings).to(device)

    @torch.inference_mode()
    def __call__(self, shown: Sequence[Shown]) -> list[list[SoftMask]]:
        labels = [self._vocabulary.label_of(one.category) for one in shown]
        pixels = [torch.from_numpy(one.image).permute(2, 0, 1).to(self._device) / 255 for one in shown]
        with computing_in(self._settings.dtype, self._device):
            images, _ = self._network.transform(pixels)
            features = self._network.backbone(images.tensors)
            proposals, _ = self._network.rpn(images, features)
            found = [
                self._detections(
                    {name: level[i : i + 1] for name, level in features.items()},
                    proposals[i],
                    images.image_sizes[i],
                    labels[i],
                )
                for i in range(len(shown))
            ]
        sizes = [one.image.shape[:2] for one in shown]
        whole = self._network.transform.postprocess(found, images.image_sizes, sizes)
        return [_soft_masks(one) for one in whole]

    def _detections(
        self,
        features: Mapping[str, torch.Tensor],
        proposals: torch.Tensor,
        size_hw: tuple[int, int],
        label: int,
    ) -> dict[str, torch.Tensor]:
        """Those of one image, alone: the heads see the proposals of a batch as one list, whose length, and
        so whose rounding, would be the neighbours'. Only those of the label are worth a whole mask."""
        ((found,), _) = self._network.roi_heads(features, [proposals], [size_hw])
        kept = torch.nonzero(found["labels"] == label).flatten()[: self._settings.max_masks]  # best first
        return {name: values[kept].float() for name, values in found.items()}


def _soft_masks(found: Mapping[str, torch.Tensor]) -> list[SoftMask]:
    masks: np.ndarray = found["masks"][:, 0].cpu().numpy()
    return [SoftMask(*pair) for pair in zip(masks, found["scores"].tolist(), strict=True)]


def save_mask_rcnn(weights: Mapping[str, torch.Tensor], categories: Sequence[str], folder: Path) -> None:
    """The folder of a `maskrcnn_resnet50_fpn_v2`: its `state_dict()`, and its names by label, the first of
    them the background's. For torchvision's own weights those are
    `MaskRCNN_ResNet50_FPN_V2_Weights.DEFAULT.meta["categories"]`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / _WEIGHTS_FILE)
    (folder / MASK_RCNN_FILE).write_text(json.dumps(list(categories)), encoding="utf-8")


def _read_categories(folder: Path) -> list[str]:
    try:
        names = json.loads((folder / MASK_RCNN_FILE).read_text(encoding="utf-8"))
    except ValueError:
        names = None
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"{SEGMENTER_OPTION}: {MASK_RCNN_FILE} of {folder.name!r} is not a list of names by label: "
            'write it as ["__background__", "person", ...]'
        )
    return names


def _load(folder: Path, num_classes: int, settings: MaskRcnnMethod) -> Any:
    side = settings.side_px
    network = maskrcnn_resnet50_fpn_v2(
        weights=None,
        weights_backbone=None,
        num_classes=num_classes,
        min_size=side,
        max_size=side,
        size_divisible=side,
        box_score_thresh=settings.min_score,
    )
    try:
        network.load_state_dict(load_file(folder / _WEIGHTS_FILE))
    except (FileNotFoundError, RuntimeError) as error:
        first = "; ".join(line.strip() for line in str(error).splitlines()[:2])
        raise ConfigError(
            f"{SEGMENTER_OPTION}: {folder.name!r} does not hold the weights of maskrcnn_resnet50_fpn_v2 for "
            f"its {num_classes} categories ({first}): make it with xpaste_ray.models.mask_rcnn.save_mask_rcnn"
        ) from None
    return network.eval()
