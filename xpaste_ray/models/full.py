"""No segmentation: the whole image as one object. Source: X-Paste, stage B, `full`."""

from collections.abc import Sequence

import numpy as np

from xpaste_ray.models.segmenters import Shown, SoftMask


class FullSegmenter:
    """A mask of ones for every image."""

    micro_batch = 1

    def __call__(self, shown: Sequence[Shown]) -> list[list[SoftMask]]:
        return [[SoftMask(np.ones(one.image.shape[:2], np.float32))] for one in shown]
