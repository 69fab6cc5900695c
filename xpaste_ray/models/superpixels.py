"""Region proposals without weights: superpixels at several scales, and what adjacent ones make together."""

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from skimage.measure import label as connected
from skimage.segmentation import felzenszwalb, slic

from xpaste_ray.config.segment import FelzenszwalbMethod, SlicMethod
from xpaste_ray.models.region_tree import merged_regions, picture_of
from xpaste_ray.models.segmenters import Shown, SoftMask

Split = Callable[[np.ndarray], Iterator[np.ndarray]]
"""(H, W, 3) uint8 RGB -> a label map (H, W) int a scale, of connected regions."""

_SLIC_SIGMA = 1.0  # smoothed before, so that noise makes no regions


class SuperpixelSegmenter:
    """Superpixels and their mergers, see `region_tree`, those that stand out best first.

    An image is reduced until its longer side is `side_px`, and the masks enlarged again: soft over a pixel
    at the edge. A region that another one before it, of whatever scale, covers with an IoU above
    `max_overlap_iou` is left out, and so is the whole image. Nothing is drawn at random.
    """

    micro_batch = 1

    def __init__(self, settings: SlicMethod | FelzenszwalbMethod) -> None:
        self._settings = settings
        self._split = _slic(settings) if isinstance(settings, SlicMethod) else _felzenszwalb(settings)

    def __call__(self, shown: Sequence[Shown]) -> list[list[SoftMask]]:
        return [self._segment(one.image) for one in shown]

    def _segment(self, image: np.ndarray) -> list[SoftMask]:
        small = _reduced(image, self._settings.side_px)
        found = [(_enlarged(mask, image.shape[:2]), score) for mask, score in self._proposals(small)]
        return [SoftMask(*one) for one in found]

    def _proposals(self, image: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Masks (H, W) bool with scores."""
        settings, picture = self._settings, picture_of(image)
        regions = [
            (region, labels)
            for labels in self._split(image)
            for region in merged_regions(picture, labels, settings.max_merged)
            if region.area < labels.size
        ]
        regions.sort(key=lambda one: -one[0].score)  # stable: of equals, the coarser scale's first
        kept = _Distinct(settings.max_overlap_iou)
        found: list[tuple[np.ndarray, float]] = []
        for region, labels in regions:
            if len(found) == settings.max_masks:
                break
            chosen = np.zeros(int(labels.max()) + 1, bool)
            chosen[list(region.labels)] = True
            mask = chosen[labels]
            if kept.add(mask, region.area):
                found.append((mask, region.score))
        return found


class _Distinct:
    """Masks none of which overlaps another by more than an IoU."""

    def __init__(self, max_iou: float) -> None:
        self._max_iou = max_iou
        self._bits: list[np.ndarray] = []
        self._areas: list[int] = []

    def add(self, mask: np.ndarray, area: int) -> bool:
        """Whether it is unlike all before it; then it counts among them."""
        bits = np.packbits(mask)
        if self._bits:
            shared = np.bitwise_count(np.stack(self._bits) & bits).sum(axis=1, dtype=np.int64)
            if (shared / (np.array(self._areas) + area - shared)).max() > self._max_iou:
                return False
        self._bits.append(bits)
        self._areas.append(area)
        return True


def _slic(settings: SlicMethod) -> Split:
    """Achanta et al. 2012; scikit-image's, which makes every superpixel connected."""

    def split(image: np.ndarray) -> Iterator[np.ndarray]:
        for segments in sorted(settings.segments):
            found = slic(
                image, n_segments=segments, compactness=settings.compactness, sigma=_SLIC_SIGMA, start_label=1
            )
            yield _numbered(found)

    return split


def _felzenszwalb(settings: FelzenszwalbMethod) -> Split:
    """Felzenszwalb and Huttenlocher 2004, scikit-image's."""

    def split(image: np.ndarray) -> Iterator[np.ndarray]:
        min_px = max(1, round(settings.min_segment_fraction * image.shape[0] * image.shape[1]))
        for scale in sorted(settings.scales, reverse=True):  # the larger, the coarser
            yield _numbered(felzenszwalb(image, scale=scale, sigma=settings.sigma, min_size=min_px))

    return split


def _numbered(labels: np.ndarray) -> np.ndarray:
    """Labels from 0 on without gaps; parts that touch by a corner at most become labels of their own."""
    numbered: np.ndarray = connected(labels, background=-1, connectivity=1) - 1
    return numbered


def _reduced(image: np.ndarray, side_px: int) -> np.ndarray:
    height, width = image.shape[:2]
    scale = side_px / max(height, width)
    if scale >= 1:
        return image
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)


def _enlarged(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """(H, W) float32."""
    return cv2.resize(mask.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
