"""A trained detector: the objects that an image shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from xpaste_ray.config.base import Dtype
from xpaste_ray.evaluation.detections import Detections
from xpaste_ray.models.detector_files import DetectorCard, detector_folder, read_card
from xpaste_ray.models.detector_network import load_network
from xpaste_ray.models.device import usable_device
from xpaste_ray.models.precision import computing_in, images_at_once

_OBJECT_ABOVE = 0.5  # of a mask, from which on a pixel is the object's


class Detector:
    """What `xpaste train` made. ConfigError if its folder cannot be used.

    folder: the detector's, or the run's. Images are shown with their longer side at the detector's `side_px`.
    """

    def __init__(
        self, folder: str | Path, device: str = "cpu", dtype: Dtype = "float32", option: str = "--weights"
    ) -> None:
        found = detector_folder(str(folder), option)
        self._card, self._dtype = read_card(found, option), dtype
        self._device = usable_device(device)
        network = load_network(found, self._card.settings, len(self._card.categories), option)
        self._network = network.to(self._device)

    @property
    def categories(self) -> tuple[tuple[int, str], ...]:
        """(id, name) of all that it knows."""
        return self._card.categories

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Of each image, (H, W, 3) uint8 RGB."""
        return detect(self._network, self._card, images, self._device, self._dtype)


@torch.inference_mode()
def detect(
    network: GeneralizedRCNN,
    card: DetectorCard,
    images: Sequence[np.ndarray],
    device: str,
    dtype: Dtype = "float32",
) -> list[Detections]:
    """network: in evaluation mode. On processors one image at a time, see `precision.images_at_once`."""
    found: list[Detections] = []
    at_once = images_at_once(len(images), device)
    for start in range(0, len(images), max(1, at_once)):
        part = images[start : start + at_once]
        pixels = [torch.from_numpy(image.copy()).permute(2, 0, 1).to(device) / 255 for image in part]
        with computing_in(dtype, device):
            results = network(pixels)
        found += [_detections(one, card) for one in results]
    return found


def _detections(found: dict[str, torch.Tensor], card: DetectorCard) -> Detections:
    ids = np.array((0, *card.category_ids))
    told = {name: value.float().cpu().numpy() for name, value in found.items()}
    return Detections(
        told["boxes"].astype(np.float32),
        ids[told["labels"].astype(np.int64)],
        told["scores"].astype(np.float32),
        told["masks"][:, 0] > _OBJECT_ABOVE,
    )
