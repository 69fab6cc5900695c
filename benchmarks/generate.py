"""How fast images are generated, beside the X-Paste code's way and a plain diffusers loop.

    python benchmarks/generate.py [--out DIR] [--architectures sd15 sdxl]

On a GPU: the true architectures of SD 1.5 (512 px) and SDXL (1024 px) with random weights. Without one: tiny
configurations of the same classes, on the CPU, in less than two minutes; that shows that the three ways run
and agree, and says nothing about a GPU. No Ray. Writes `generate.json` to benchmarks/results or to DIR, and
exits with 1 if a gate is missed.

The ways, each warmed up: `X-Paste` (4 images of one prompt a call, eager half precision), `plain` (a
diffusers loop over batches of different prompts, at the best of the batch sizes tried), `ours` and `ours,
compiled` (`DiffusionModel`, its texts in the cache, as nearly always when 100 images a category are made).
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from architectures import (
    SD15,
    SDXL,
    TINY_SD,
    TINY_SDXL,
    Architecture,
    decode_flops,
    save_random,
    unet_flops,
)
from diffusers import AutoPipelineForText2Image
from measuring import RESULTS, Gate, finish

from xpaste_ray.categories import display_name, lvis_categories
from xpaste_ray.config import DiffusionSource
from xpaste_ray.models.diffusion import DiffusionModel

GUIDANCE = 7.5  # X-Paste, stage A; above 1 the UNet computes every image twice
THREADS = 1
PUBLISHED_GFLOP = {"UNet forward": 803.3, "VAE decode": 2514.0}  # SD 1.5 at 512 px, 2 a multiply-add

Call = Callable[[int, int], Any]
"""(images, steps) -> images, all of them on the host when it returns."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is measured of one architecture. dtype: of `plain` and `ours`; X-Paste's is float16 on a GPU.

    SDXL runs in bfloat16: in float16 its VAE overflows, and diffusers computes it in float32.
    """

    architecture: Architecture
    dtype: str
    batches: tuple[int, ...]  # tried with few steps; the best is measured
    steps: tuple[int, ...]
    vae_batch: int | None
    compiled: bool
    repeats: int


GPU_JOBS = {
    "sd15": Job(SD15, "float16", (8, 16, 32, 64), (50, 25), 8, compiled=True, repeats=2),
    "sdxl": Job(SDXL, "bfloat16", (4, 8, 16), (50,), 4, compiled=True, repeats=1),
}
CPU_JOBS = {
    "sd15": Job(TINY_SD, "float32", (4, 8), (10,), None, compiled=False, repeats=5),
    "sdxl": Job(TINY_SDXL, "float32", (4, 8), (10,), None, compiled=False, repeats=5),
}


@dataclass(frozen=True, slots=True)
class Way:
    """One measurement. seconds: of each repeat, `batch` images each."""

    architecture: str
    way: str
    dtype: str
    batch: int
    steps: int
    warmup_seconds: float
    seconds: tuple[float, ...]
    images_per_second: float
    tflops: float
    share_of_matmul_rate: float
    peak_memory_gib: float | None


def run_job(job: Job, folder: Path, device: str, matmul_tflops: float) -> tuple[list[Way], dict[str, Any]]:
    """All ways on one architecture, and how far our images are from the plain loop's."""
    architecture = job.architecture
    save_random(architecture, folder, getattr(torch, job.dtype), device)
    gflop = {"UNet forward": unet_flops(architecture) / 1e9, "VAE decode": decode_flops(architecture) / 1e9}

    def measured(name: str, dtype: str, call: Call, batch: int, steps: int) -> Way:
        warmup = seconds_of(call, batch, steps)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = tuple(seconds_of(call, batch, steps) for _ in range(job.repeats))
        rate = batch / float(np.median(seconds))
        tflops = rate * (2 * steps * gflop["UNet forward"] + gflop["VAE decode"]) / 1e3
        peak = torch.cuda.max_memory_allocated() / 1024**3 if device == "cuda" else None
        way = Way(architecture.name, name, dtype, batch, steps, warmup, seconds, rate, tflops,
                  tflops / matmul_tflops, peak)  # fmt: skip
        print(
            f"{architecture.name:<10} {name:<15} batch {batch:<3} {steps} steps  {rate:8.3f} images/s",
            flush=True,
        )
        return way

    half = "float16" if device == "cuda" else job.dtype
    ways = [measured("X-Paste", half, xpaste_way(folder, half, device), 4, job.steps[0])]
    plain = plain_way(folder, job.dtype, device)
    batch = best_batch(plain, job.batches)
    ways += [measured("plain", job.dtype, plain, batch, steps) for steps in job.steps]
    expected = plain(batch, 4)
    del plain
    ours = our_way(folder, job, device, compiled=False)
    difference = np.abs(ours(batch, 4).astype(int) - expected).max()  # in the same batch shape
    batch = best_batch(ours, job.batches)
    ways += [measured("ours", job.dtype, ours, batch, steps) for steps in job.steps]
    detail = {"gflop": gflop, "grey_levels_from_plain": int(difference)}
    if device == "cpu":
        plain = plain_way(folder, job.dtype, device)
        detail["x_plain_loop"] = paired_ratio(ours, plain, batch, job.steps[0])
        del plain
    del ours
    if job.compiled:
        compiled = our_way(folder, job, device, compiled=True)
        ways += [measured("ours, compiled", job.dtype, compiled, batch, steps) for steps in job.steps]
    free()
    return ways, detail


def xpaste_way(folder: Path, dtype: str, device: str) -> Call:
    """4 images of one prompt a call, to PIL images, as the published generate.py does."""
    pipeline = _pipeline(folder, dtype, device)

    def call(images: int, steps: int) -> Any:
        return pipeline(
            texts(1), num_images_per_prompt=images, num_inference_steps=steps, guidance_scale=GUIDANCE
        ).images

    return call


def plain_way(folder: Path, dtype: str, device: str) -> Call:
    """Different prompts in one call, a CPU generator each: (N, H, W, 3) uint8."""
    pipeline = _pipeline(folder, dtype, device)

    def call(images: int, steps: int) -> np.ndarray:
        made = pipeline(
            texts(images),
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in range(images)],
            output_type="np",
        ).images
        return np.rint(np.nan_to_num(made) * 255).astype(np.uint8)

    return call


def our_way(folder: Path, job: Job, device: str, compiled: bool) -> Call:
    free()
    settings = DiffusionSource(
        kind="diffusion", model=str(folder), steps=1, guidance_scale=GUIDANCE, dtype=job.dtype,
        unit_size=max(job.batches), vae_batch=job.vae_batch, compile=compiled, threads=THREADS,
    )  # fmt: skip
    model = DiffusionModel(folder, settings, device)

    def call(images: int, steps: int) -> np.ndarray:
        model.steps = steps
        return np.stack([one.pixels for one in model.generate(texts(images), range(images))])

    return call


def _pipeline(folder: Path, dtype: str, device: str) -> Any:
    free()
    pipeline = AutoPipelineForText2Image.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def texts(count: int) -> list[str]:
    return [f"a photo of a single {display_name(category.name)}" for category in lvis_categories()[:count]]


def best_batch(call: Call, batches: tuple[int, ...], steps: int = 5) -> int:
    """The one that makes most images a second, of those that run: memory ends, and 32-bit indices do."""
    rates = {}
    for batch in batches:
        try:
            seconds_of(call, batch, steps)
            rates[batch] = batch / seconds_of(call, batch, steps)
        except RuntimeError as error:
            print(f"batch {batch} does not run: {str(error).splitlines()[0]}")
        free()
    return max(rates, key=lambda batch: rates[batch])


def seconds_of(call: Call, images: int, steps: int) -> float:
    began = time.perf_counter()
    call(images, steps)
    return time.perf_counter() - began


def paired_ratio(ours: Call, plain: Call, images: int, steps: int, rounds: int = 9) -> float:
    """How many times as fast ours is: the median of rounds in turn, for what else a small machine does."""
    return float(
        np.median([seconds_of(plain, images, steps) / seconds_of(ours, images, steps) for _ in range(rounds)])
    )


def free() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def matmul_rate(device: str) -> float:
    """TFLOP/s of a large square product: bfloat16 on a GPU, float32 on the CPU."""
    side, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def multiply(images: int, steps: int) -> None:
        for _ in range(steps):
            c = a @ b
        c[0, 0].item()  # waits for the device

    multiply(1, 5)
    seconds = min(seconds_of(multiply, 1, 50) for _ in range(3))
    return 50 * 2 * side**3 / seconds / 1e12


def gates_of(ways: list[Way], details: dict[str, dict[str, Any]], device: str) -> list[Gate]:
    """On an H200 the speeds that this project promises; on a CPU, that ours is the plain loop's equal."""
    found: list[Gate] = []

    def rate(architecture: str, name: str, steps: int) -> float:
        """The best of the ways whose name begins so."""
        return max(
            way.images_per_second
            for way in ways
            if way.architecture == architecture and way.way.startswith(name) and way.steps == steps
        )

    if device == "cpu":
        for name, detail in details.items():
            found.append(Gate(f"{name}: x plain loop", detail["x_plain_loop"], ">=", 0.9))
            found.append(Gate(f"{name}: grey levels off", detail["grey_levels_from_plain"], "<=", 0))
    elif SD15.name in details and "H200" in torch.cuda.get_device_name():
        ours = rate(SD15.name, "ours", 50)
        found = [
            Gate("SD 1.5: x X-Paste's way", ours / rate(SD15.name, "X-Paste", 50), ">=", 1.8),
            Gate("SD 1.5: images/s, 50 steps", ours, ">=", 4.2),
            Gate("SD 1.5: images/s, 25 steps", rate(SD15.name, "ours", 25), ">=", 8.2),
        ]
    counted = {"UNet forward": unet_flops(SD15) / 1e9, "VAE decode": decode_flops(SD15) / 1e9}
    return found + [
        Gate(f"GFLOP of {part}: off by", abs(counted[part] / gflop - 1), "<=", 0.001)
        for part, gflop in PUBLISHED_GFLOP.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for generate.json")
    parser.add_argument("--architectures", nargs="+", choices=GPU_JOBS, default=list(GPU_JOBS))
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    jobs = GPU_JOBS if device == "cuda" else CPU_JOBS
    matmul = matmul_rate(device)
    ways: list[Way] = []
    details: dict[str, dict[str, Any]] = {}
    for key in given.architectures:
        with tempfile.TemporaryDirectory() as folder:
            made, detail = run_job(jobs[key], Path(folder) / "model", device, matmul)
        ways += made
        details[jobs[key].architecture.name] = detail
    finish(
        "generate",
        gates_of(ways, details, device),
        {
            "device": device,
            "matmul_tflops": matmul,
            "architectures": details,
            "ways": [asdict(way) for way in ways],
        },
        given.out,
    )


if __name__ == "__main__":
    main()
