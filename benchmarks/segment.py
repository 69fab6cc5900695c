"""How fast SAM segments: ours in batches beside SamPredictor, called image by image, in the same run.

    python benchmarks/segment.py [--out DIR]

The true architecture of ViT-B with random weights, saved and loaded as a user's would be. On a GPU ours runs
in bfloat16; `SamPredictor` as it is published, in float32, and also under the same autocast. Without one both
run in float32 on the CPU, in three minutes. No Ray. Writes `segment.json` to benchmarks/results or to DIR,
and exits with 1 if a gate is missed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from material import photo_folder
from measuring import RESULTS, Gate, finish
from segment_anything import SamPredictor

from xpaste_ray.config.segment import SamMethod
from xpaste_ray.models.sam import SamSegmenter
from xpaste_ray.models.sam_files import SAM_TYPES, build_sam, load_sam, save_sam
from xpaste_ray.models.sam_prompts import prompt_for
from xpaste_ray.models.segmenters import Shown

SIDE_PX = 512  # as generated; SAM enlarges it to 1,024
PROMPTS: tuple[Literal["centre", "box"], ...] = ("centre", "box")

Masks = list[np.ndarray]
"""(H, W) bool each."""


@dataclass(frozen=True, slots=True)
class Job:
    """images: a round. micro_batch, dtype: ours. gate: how many times as fast as SamPredictor ours must be.
    agreement: the mean IoU of their masks, at least."""

    images: int
    rounds: int
    micro_batch: int
    dtype: Literal["float32", "bfloat16"]
    threads: int
    gate: float
    agreement: float


GPU_JOB = Job(32, 5, 8, "bfloat16", 8, gate=2.0, agreement=0.9)
CPU_JOB = Job(2, 2, 2, "float32", 2, gate=1.2, agreement=0.999)


@dataclass(frozen=True, slots=True)
class Way:
    """seconds: of each round, `images` images each."""

    prompt: str
    way: str
    dtype: str
    images: int
    seconds: tuple[float, ...]
    images_per_second: float


def save_random(folder: Path) -> Path:
    """ViT-B with random weights, also where training begins with zeros: positions must count."""
    torch.manual_seed(0)
    sam = build_sam(SAM_TYPES["vit_b"])
    for name, parameter in sam.image_encoder.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    save_sam(sam, SAM_TYPES["vit_b"], folder)
    return folder


def predictor_way(predictor: SamPredictor, settings: SamMethod, images: Sequence[np.ndarray]) -> Masks:
    """The best of the three masks by the model's own word, image by image."""
    masks = []
    for image in images:
        told = prompt_for(settings, image.shape[:2])
        predictor.set_image(image)
        found, quality, _ = predictor.predict(
            point_coords=told.points,
            point_labels=None if told.points is None else np.ones(len(told.points)),
            box=told.box_xyxy,
        )
        masks.append(found[quality.argmax()])
    return masks


def our_way(segmenter: SamSegmenter, images: Sequence[np.ndarray]) -> Masks:
    shown = [Shown(str(i), "object", image) for i, image in enumerate(images)]
    size = segmenter.micro_batch
    found = [masks for i in range(0, len(shown), size) for masks in segmenter(shown[i : i + size])]
    return [masks[0].mask > 0.5 for masks in found]


def measure(
    job: Job, folder: Path, images: Sequence[np.ndarray], device: str
) -> tuple[list[Way], list[Gate]]:
    """All ways take turns in every round: whatever else the machine does meets them all."""
    predictor = SamPredictor(load_sam(folder, "benchmark").to(device))
    ways, gates = [], []
    for prompt in PROMPTS:
        settings = SamMethod(
            kind="sam", model=str(folder), prompt=prompt, dtype=job.dtype, micro_batch=job.micro_batch
        )
        segmenter = SamSegmenter(settings, device)
        calls: dict[tuple[str, str], Callable[[], Masks]] = {
            ("SamPredictor", "float32"): lambda s=settings: predictor_way(predictor, s, images)
        }
        if device == "cuda":
            calls["SamPredictor", "bfloat16"] = lambda s=settings: in_bfloat16(predictor, s, images)
        calls["ours", job.dtype] = lambda s=segmenter: our_way(s, images)
        masks = {key: call() for key, call in calls.items()}  # warms up
        seconds: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
        for _ in range(job.rounds):
            for key, call in calls.items():
                with timed(seconds[key]):
                    call()
        for (name, dtype), told in seconds.items():
            rate = len(images) / float(np.median(told))
            ways.append(Way(prompt, name, dtype, len(images), tuple(told), rate))
            print(f"{prompt:<8}{name:<14}{dtype:<10}{rate:8.3f} images/s", flush=True)
        plain, ours = ("SamPredictor", "float32"), ("ours", job.dtype)
        ratio = float(np.median(np.array(seconds[plain]) / np.array(seconds[ours])))
        gates.append(Gate(f"{prompt}: x SamPredictor", ratio, ">=", job.gate))
        gates.append(
            Gate(f"{prompt}: mean IoU of masks", mean_iou(masks[plain], masks[ours]), ">=", job.agreement)
        )
    return ways, gates


def in_bfloat16(predictor: SamPredictor, settings: SamMethod, images: Sequence[np.ndarray]) -> Masks:
    """Under autocast as a whole, as its users do it."""
    with torch.autocast("cuda", torch.bfloat16):
        return predictor_way(predictor, settings, images)


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Both ways end with masks on the host, so nothing is under way at the end."""
    began = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - began)


def mean_iou(one: Masks, other: Masks) -> float:
    return float(np.mean([(a & b).sum() / max(1, (a | b).sum()) for a, b in zip(one, other, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for segment.json")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    job = GPU_JOB if device == "cuda" else CPU_JOB
    torch.set_num_threads(job.threads)
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(photo_folder(Path(folder) / "photos", SIDE_PX, job.images).glob("*.jpg"))
        images = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in files]
        ways, gates = measure(job, save_random(Path(folder) / "sam"), images, device)
    finish(
        "segment",
        gates,
        {"device": device, "job": asdict(job), "ways": [asdict(way) for way in ways]},
        given.out,
    )


if __name__ == "__main__":
    main()
