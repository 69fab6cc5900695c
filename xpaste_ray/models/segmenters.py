"""What every segmenter is: images and category names in, soft masks out. And which class each kind is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from xpaste_ray.config.segment import (
    AnyMethod,
    ClipSegMethod,
    FelzenszwalbMethod,
    FullMethod,
    GrabCutMethod,
    Mask2FormerMethod,
    MaskRcnnMethod,
    MasksMethod,
    SaliencyMethod,
    SamMethod,
    SlicMethod,
)


@dataclass(frozen=True, slots=True)
class Shown:
    """An image to segment. image: (H, W, 3) uint8 RGB, may be read-only. candidate_id: keys whatever a method
    draws at random. category: as the vocabulary names it. uri: what its source calls the image, see
    `sources`; None for one that was generated."""

    candidate_id: str
    category: str
    image: np.ndarray
    uri: str | None = None


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
        """Any number of masks for each image, sizes may differ.

        Raises ConfigError for what no image can help, RowError with a reason for an image that cannot be
        segmented (in a batch: any exception, and the images are tried one by one).
        """
        ...


@runtime_checkable
class Choosy(Protocol):
    """What a segmenter also is that knows some categories only."""

    def refusal(self, category: str) -> str | None:
        """Why an image of that category would be rejected, whatever it shows; None if it would not. It is
        asked first: in a batch, one such image would have all others tried one by one."""
        ...


def sees_only_the_image(settings: AnyMethod) -> bool:
    """Whether all categories of one image get the same masks. GrabCut draws by the candidate's id."""
    match settings:
        case Mask2FormerMethod():
            return settings.classes == "any"
        case ClipSegMethod() | MaskRcnnMethod() | GrabCutMethod():
            return False
    return True


def build_segmenter(settings: AnyMethod, device: str = "cpu") -> Segmenter:
    """Load what `settings` names. Imported here, so that a run loads no library that it does not use.

    Raises ConfigError.
    """
    match settings:
        case GrabCutMethod():
            from xpaste_ray.models.grabcut import GrabCutSegmenter

            return GrabCutSegmenter(settings)
        case FullMethod():
            from xpaste_ray.models.full import FullSegmenter

            return FullSegmenter()
        case SamMethod():
            from xpaste_ray.models.sam import SamSegmenter

            return SamSegmenter(settings, device)
        case ClipSegMethod():
            from xpaste_ray.models.clipseg import ClipSegSegmenter

            return ClipSegSegmenter(settings, device)
        case SaliencyMethod():
            from xpaste_ray.models.saliency import SaliencySegmenter

            return SaliencySegmenter(settings)
        case MaskRcnnMethod():
            from xpaste_ray.models.mask_rcnn import MaskRcnnSegmenter

            return MaskRcnnSegmenter(settings, device)
        case Mask2FormerMethod():
            from xpaste_ray.models.mask2former import Mask2FormerSegmenter

            return Mask2FormerSegmenter(settings, device)
        case SlicMethod() | FelzenszwalbMethod():
            from xpaste_ray.models.superpixels import SuperpixelSegmenter

            return SuperpixelSegmenter(settings)
        case MasksMethod():
            from xpaste_ray.models.mask_files import MaskFileSegmenter

            return MaskFileSegmenter(settings)
