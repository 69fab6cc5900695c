"""What every segmenter is: images and category names in, soft masks out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Shown:
    """An image to segment. image: (H, W, 3) uint8 RGB. candidate_id: keys whatever a method draws at random.
    category: as the vocabulary names it."""

    candidate_id: str
    category: str
    image: np.ndarray


@dataclass(frozen=True, slots=True)
class SoftMask:
    """mask: (H, W) float32 in [0, 1], in the frame of the image. score: the method's own, higher is better;
    0 where it has none."""

    mask: np.ndarray
    score: float = 0.0


class Segmenter(Protocol):
    """micro_batch: images that are computed together, always in that shape."""

    @property
    def micro_batch(self) -> int: ...

    def __call__(self, shown: Sequence[Shown]) -> list[list[SoftMask]]:
        """Any number of masks for each image, sizes may differ. Raises ConfigError for what no image can
        help, RowError with a reason for an image that cannot be segmented (in a batch: any exception, and
        the images are tried one by one)."""
        ...
