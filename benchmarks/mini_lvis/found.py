"""How good the masks are that EM-Paste found in the study's labelled images.

python -m benchmarks.mini_lvis.found RUN DIR    # what `xpaste foregrounds` made, and the material
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask


@dataclass(frozen=True, slots=True)
class Found:
    """labels: an image and one of its categories, each. instances: those that got a mask. above_50, mean_iou:
    of the instances, with the true mask. above_50_by_category: the same of each."""

    labels: int
    instances: int
    above_50: float
    mean_iou: float
    instances_by_category: dict[str, int]
    above_50_by_category: dict[str, float]


def compare(found: dict[str, Any], truth: dict[str, Any]) -> Found:
    """Two COCO files of the same images, known by the last part of their names, and categories. The true one
    has one mask of a category an image at most."""
    true_masks = _by_label(truth)
    overlaps: dict[str, list[float]] = {one["name"]: [] for one in truth["categories"]}
    for (image, category), mask in _by_label(found).items():
        overlaps[category].append(_iou(mask, true_masks[image, category]))
    every = [one for several in overlaps.values() for one in several]
    return Found(
        labels=len(true_masks),
        instances=len(every),
        above_50=float(np.mean([one >= 0.5 for one in every])),
        mean_iou=float(np.mean(every)),
        instances_by_category={name: len(several) for name, several in overlaps.items()},
        above_50_by_category={
            name: float(np.mean([one >= 0.5 for one in several]))
            for name, several in overlaps.items()
            if several
        },
    )


def _by_label(told: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The RLE of each image and category."""
    images = {one["id"]: Path(one["file_name"]).name for one in told["images"]}
    names = {one["id"]: one["name"] for one in told["categories"]}
    return {
        (images[one["image_id"]], names[one["category_id"]]): one["segmentation"]
        for one in told["annotations"]
    }


def _iou(one: dict[str, Any], other: dict[str, Any]) -> float:
    return float(coco_mask.iou([one], [other], [0])[0, 0])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.mini_lvis.found RUN DIR")
    files = Path(sys.argv[1]) / "annotations.json", Path(sys.argv[2]) / "labelled_truth.json"
    print(json.dumps(asdict(compare(*(json.loads(path.read_text()) for path in files))), indent=1))
