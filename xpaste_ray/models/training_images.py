"""Images that a classifier is trained on: what they are, which of them are held out, and how each is varied.

Nothing here follows from an image's place among the others: a choice about one is keyed by its `key`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from xpaste_ray.models.segment_picture import in_square
from xpaste_ray.rng import rng_for

_LEAST_AREA = 0.5  # of an image that a crop of it keeps
_ASPECT = 4 / 3  # by which a crop is longer in one direction, at most
_LIGHT = 0.25  # largest relative change of brightness, contrast and saturation


class TrainingImages(Protocol):
    """Images with their categories. It is sent to the processes that train, so it can be pickled."""

    def __len__(self) -> int: ...

    def load(self, number: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB. RowError if it is of no use."""
        ...

    def labels(self, number: int) -> tuple[int, ...]:
        """Ids of the categories that it shows."""
        ...

    def key(self, number: int) -> str:
        """What it is known by; no two have the same."""
        ...


@dataclass(frozen=True, slots=True)
class Split:
    """Numbers of images, in the order of their keys."""

    training: tuple[int, ...]
    held_out: tuple[int, ...]


def split(images: TrainingImages, numbers: Sequence[int], part: float, seed: int) -> Split:
    """Hold `part` of the images out, rounded, the same whatever order they stand in.

    Every category keeps an image to be trained on: where all of its images would be held out, one is not.
    So there may be none.
    """
    drawn = {i: rng_for(seed, "classifier-held-out", images.key(i)).random() for i in numbers}
    by_draw = sorted(numbers, key=lambda i: (drawn[i], images.key(i)))
    held = set(by_draw[: round(part * len(numbers))])
    left = Counter(label for i in numbers if i not in held for label in images.labels(i))
    for i in sorted(held, key=lambda i: (-drawn[i], images.key(i))):  # the last ones that were drawn, first
        if any(left[label] == 0 for label in images.labels(i)):
            held.discard(i)
            left.update(images.labels(i))
    by_key = sorted(numbers, key=images.key)
    return Split(tuple(i for i in by_key if i not in held), tuple(i for i in by_key if i in held))


def epoch_order(numbers: Sequence[int], seed: int, epoch: int) -> list[int]:
    """In which order an epoch takes them; `numbers` in the order of their keys."""
    order = rng_for(seed, "classifier-order", epoch).permutation(len(numbers))
    return [numbers[i] for i in order]


def batches(numbers: Sequence[int], size: int) -> list[list[int]]:
    """As few as hold them all with at most `size` each, and as equal as they can be: none is tiny."""
    count = -(-len(numbers) // size)
    return [[int(i) for i in part] for part in np.array_split(np.asarray(numbers), count)] if count else []


def varied(image: np.ndarray, side_px: int, seed: int, epoch: int, key: str) -> np.ndarray:
    """A crop of the image, maybe mirrored, in another light, in its square: (side_px, side_px, 3) uint8."""
    rng = rng_for(seed, "classifier-varied", epoch, key)
    image = _cropped(image, rng)
    if rng.random() < 0.5:
        image = image[:, ::-1]
    return _relit(in_square(image, side_px), rng)


def _cropped(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    share, stretch = rng.uniform(_LEAST_AREA, 1), _ASPECT ** rng.uniform(-0.5, 0.5)
    crop_height = min(height, max(1, round(height * share**0.5 * stretch)))
    crop_width = min(width, max(1, round(width * share**0.5 / stretch)))
    top, left = (int(rng.integers(0, room + 1)) for room in (height - crop_height, width - crop_width))
    return image[top : top + crop_height, left : left + crop_width]


def _relit(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    brightness, contrast, saturation = 1 + _LIGHT * rng.uniform(-1, 1, 3).astype(np.float32)
    pixels = image.astype(np.float32) * brightness
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None]
    pixels = grey + saturation * (pixels - grey)
    mean = float(grey.mean())
    relit: np.ndarray = np.clip(np.rint(mean + contrast * (pixels - mean)), 0, 255).astype(np.uint8)
    return relit
