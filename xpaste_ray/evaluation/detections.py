"""What a detector gives for an image, and how that becomes predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from xpaste_ray.evaluation.predictions import Prediction
from xpaste_ray.masks import encode_rle


@dataclass(frozen=True, slots=True)
class Detections:
    """The N objects found in one image of (H, W) pixels, the surest first.

    boxes_xyxy: (N, 4) float32, in pixels of the image. labels: (N,) int64, category ids. scores: (N,)
    float32, descending. masks: (N, H, W) bool. ValueError if the numbers of objects differ.
    """

    boxes_xyxy: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes_xyxy.shape != (count, 4) or self.labels.shape != (count,) or self.masks.ndim != 3:
            raise ValueError(
                f"{count} scores with boxes {self.boxes_xyxy.shape}, labels {self.labels.shape} and masks "
                f"{self.masks.shape}"
            )
        if len(self.masks) != count:
            raise ValueError(f"{count} scores and {len(self.masks)} masks")

    def __len__(self) -> int:
        return len(self.scores)


class Detects(Protocol):
    """Finds objects. categories: (id, name) of all that it knows."""

    @property
    def categories(self) -> tuple[tuple[int, str], ...]: ...

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Of each image, (H, W, 3) uint8 RGB; they may differ in size."""
        ...


def predictions_of(image_id: int, detections: Detections) -> list[Prediction]:
    """The detections of an image as predictions, in their order."""
    found = []
    columns = zip(detections.boxes_xyxy, detections.labels, detections.scores, detections.masks, strict=True)
    for (left, top, right, bottom), label, score, mask in columns:
        box = float(left), float(top), float(right - left), float(bottom - top)
        rle = encode_rle(mask)
        height, width = rle["size"]
        found.append(Prediction(image_id, int(label), box, float(score), (height, width), rle["counts"]))
    return found
