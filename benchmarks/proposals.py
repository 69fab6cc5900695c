"""How many objects of composed scenes are among the proposals of superpixels, and what those cost.

    python benchmarks/proposals.py [--scenes N] [--out DIR]

Two to four of the shipped objects, turned and scaled, on a shipped photograph; what is less than 1 % of the
image, or hidden by others, counts for nothing. An object is found if a proposal's IoU with it is at least 0.5
(and 0.75). One core, no Ray; in two minutes. Writes `proposals.json` to benchmarks/results or to DIR, and
exits with 1 if a gate is missed.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from measuring import RESULTS, Gate, finish

from xpaste_ray.config.segment import FelzenszwalbMethod, SlicMethod
from xpaste_ray.embedded import PHOTOS_DIR
from xpaste_ray.embedded.scenes import load_object, object_names
from xpaste_ray.models.segmenters import Shown
from xpaste_ray.models.superpixels import SuperpixelSegmenter
from xpaste_ray.rng import rng_for

SIDES_PX = (128, 192, 256)
COUNTS = (20, 40, 60)  # of proposals, the best first
MOST = max(COUNTS)
GATED_PX = (192, 256)
MIN_RECALL = 0.8  # of objects at IoU 0.5, among all 60
METHODS = {
    "slic": SlicMethod(kind="slic", max_masks=MOST),
    "felzenszwalb": FelzenszwalbMethod(kind="felzenszwalb", max_masks=MOST),
}


@dataclass(frozen=True, slots=True)
class Case:
    """found: the share of objects at IoU 0.5 and at 0.75, by the number of proposals that were looked at."""

    method: str
    side_px: int
    scenes: int
    objects: int
    found: dict[int, tuple[float, float]]
    ms_an_image: float


def scene(number: int, side_px: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """(side_px, side_px, 3) uint8 RGB, and the visible masks of its objects, bool."""
    rng = rng_for(0, "benchmark-proposals", number)
    names, photos = object_names(), sorted(PHOTOS_DIR.glob("*.jpg"))
    photo = cv2.imread(str(photos[rng.integers(len(photos))]))[..., ::-1]
    left = rng.integers(photo.shape[1] - photo.shape[0] + 1)
    square = photo[:, left : left + photo.shape[0]]
    image = cv2.resize(square, (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    visible: list[np.ndarray] = []
    for _ in range(rng.integers(2, 5)):
        layer = _turned(load_object(names[rng.integers(len(names))]), rng, side_px)
        image = image * (1 - layer[..., 3:]) + layer[..., :3]
        hidden = layer[..., 3] > 0.5
        visible = [*(mask & ~hidden for mask in visible), hidden]
    pixels = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
    return pixels, [mask for mask in visible if mask.mean() >= 0.01]


def _turned(rgba: np.ndarray, rng: np.random.Generator, side_px: int) -> np.ndarray:
    """(side_px, side_px, 4) float32, premultiplied: the object somewhere inside."""
    factor = rng.uniform(0.22, 0.5) * side_px / rgba.shape[0]
    small = cv2.resize(rgba, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    side = small.shape[0]
    about = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-30, 30), 1.0)
    about[:, 2] += rng.integers(0, side_px - side + 1, 2)
    return cv2.warpAffine(small, about, (side_px, side_px), flags=cv2.INTER_LINEAR)


def best_ious(proposals: Sequence[np.ndarray], objects: Sequence[np.ndarray]) -> np.ndarray:
    """(objects, MOST): the best of the first proposal, of the first two, and so on."""
    found = np.zeros((len(objects), MOST))
    for row, mask in enumerate(objects):
        for column, proposal in enumerate(proposals):
            found[row, column] = (mask & proposal).sum() / (mask | proposal).sum()
    return np.maximum.accumulate(found, axis=1)


def measure(name: str, side_px: int, scenes: int) -> Case:
    segmenter, seconds, best = SuperpixelSegmenter(METHODS[name]), 0.0, []
    for number in range(scenes):
        image, objects = scene(number, side_px)
        began = time.process_time()
        ((*proposals,),) = segmenter([Shown(str(number), "object", image)])
        seconds += time.process_time() - began
        best.append(best_ious([one.mask > 0.5 for one in proposals], objects))
    ious = np.concatenate(best)
    found = {
        count: (float(np.mean(ious[:, count - 1] >= 0.5)), float(np.mean(ious[:, count - 1] >= 0.75)))
        for count in COUNTS
    }
    return Case(name, side_px, scenes, len(ious), found, 1000 * seconds / scenes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for proposals.json")
    parser.add_argument("--scenes", type=int, default=40)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    measured = []
    for name in METHODS:
        for side_px in SIDES_PX:
            case = measure(name, side_px, given.scenes)
            measured.append(case)
            told = ", ".join(
                f"{count}: {half:.3f} / {more:.3f}" for count, (half, more) in case.found.items()
            )
            print(f"{name:<14}{side_px} px  {case.ms_an_image:4.0f} ms  {told}", flush=True)
    gates = [
        Gate(f"{one.method}, {one.side_px} px: found", one.found[MOST][0], ">=", MIN_RECALL)
        for one in measured
        if one.side_px in GATED_PX
    ]
    finish("proposals", gates, {"measured": [asdict(one) for one in measured]}, given.out)


if __name__ == "__main__":
    main()
