"""Mask2Former: the instances of the categories that it was trained on, of one or of any."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from transformers import Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor

from xpaste_ray.config.segment import Mask2FormerMethod
from xpaste_ray.models.device import usable_device
from xpaste_ray.models.folders import SEGMENTER_OPTION, TRANSFORMERS_FILE, model_folder
from xpaste_ray.models.precision import computing_in, images_at_once
from xpaste_ray.models.pretrained import image_processor, load_network
from xpaste_ray.models.segmenters import Shown, SoftMask
from xpaste_ray.models.vocabulary import Vocabulary


class Mask2FormerSegmenter:
    """The instances of the image's category, or those of any, best first. Raises ConfigError.

    An image is scaled until its longer side is `side_px`, and padded to a square: so every batch has one
    shape. An instance's score is its probability of being of the category, or an object at all, times the
    mean probability of the pixels of its mask (Cheng et al. 2022, instance inference; transformers'
    `post_process_instance_segmentation`, which makes hard masks of 384 x 384 only).
    """

    def __init__(self, settings: Mask2FormerMethod, device: str = "cpu") -> None:
        folder = model_folder(settings.model, SEGMENTER_OPTION, TRANSFORMERS_FILE)
        self._settings, self._device = settings, usable_device(device)
        self.micro_batch = images_at_once(settings.micro_batch, device)
        self._network = load_network(Mask2FormerForUniversalSegmentation, folder).to(device)
        self._vocabulary = Vocabulary(self._network.config.id2label)
        self._named = settings.classes == "named"
        side = settings.side_px
        self._processor = image_processor(
            Mask2FormerImageProcessor, folder, {"shortest_edge": side, "longest_edge": side}
        )

    @torch.inference_mode()
    def __call__(self, shown: Sequence[Shown]) -> list[list[SoftMask]]:
        labels = [self._vocabulary.label_of(one.category) if self._named else None for one in shown]
        side = self._settings.side_px
        images = [self._prepared(one.image) for one in shown]
        pixels = torch.cat([_padded(image, side) for image in images])
        with computing_in(self._settings.dtype, self._device):
            output = self._network(pixels.to(self._device))
        scores = output.class_queries_logits.float().softmax(dim=-1)
        return [
            self._instances(
                _probability(scores[i], label), _unpadded(output.masks_queries_logits[i], image, side), one
            )
            for i, (label, image, one) in enumerate(zip(labels, images, shown, strict=True))
        ]

    def refusal(self, category: str) -> str | None:
        return self._vocabulary.refusal(category) if self._named else None

    def _prepared(self, image: np.ndarray) -> torch.Tensor:
        """(1, 3, h, w), its sides multiples of 32."""
        pixels: torch.Tensor = self._processor(Image.fromarray(image), return_tensors="pt").pixel_values
        return pixels

    def _instances(self, scores: torch.Tensor, logits: torch.Tensor, shown: Shown) -> list[SoftMask]:
        """scores: (Q,). logits: (Q, h, w) of the image, at the network's resolution."""
        scores = scores * _sureness(logits)
        order = scores.argsort(descending=True, stable=True)[: self._settings.max_masks]
        order = order[scores[order] >= self._settings.min_score]
        if not len(order):
            return []
        whole = functional.interpolate(
            logits[order][None], shown.image.shape[:2], mode="bilinear", align_corners=False
        )[0]
        masks: np.ndarray = whole.sigmoid().cpu().numpy()
        return [SoftMask(*pair) for pair in zip(masks, scores[order].tolist(), strict=True)]


def _probability(scores: torch.Tensor, label: int | None) -> torch.Tensor:
    """(Q,) of (Q, labels + 1), the last for no object: of one label, or of any."""
    return 1 - scores[:, -1] if label is None else scores[:, label]


def _padded(image: torch.Tensor, side_px: int) -> torch.Tensor:
    height, width = image.shape[-2:]
    return functional.pad(image, (0, side_px - width, 0, side_px - height))


def _unpadded(logits: torch.Tensor, image: torch.Tensor, side_px: int) -> torch.Tensor:
    """The part of a square's (Q, s, s) logits that shows the image: it ends between two of them."""
    stride = side_px // logits.shape[-1]
    height, width = image.shape[-2:]
    return logits[:, : height // stride, : width // stride].float()


def _sureness(logits: torch.Tensor) -> torch.Tensor:
    """The mean probability of the pixels that are above 0.5; 0 where there are none. (Q,)."""
    inside = (logits > 0).flatten(1)
    return (logits.sigmoid().flatten(1) * inside).sum(1) / inside.sum(1).clamp(min=1)
