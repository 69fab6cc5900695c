"""The embedded models on processors: the pipeline against one plain process with as many threads."""

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from xpaste_ray.config import PoolSettings, load
from xpaste_ray.pipelines.resources import MODEL_STAGES, cpus_booked
from xpaste_ray.pipelines.stage_code import stage_code
from xpaste_ray.pipelines.steps import Inputs, resolve_inputs
from xpaste_ray.pipelines.unit_work import run_units
from xpaste_ray.pipelines.units import OpenPrompts, write_units
from xpaste_ray.runs import RunDir

THREADS = 2  # in the plain process; in the pipeline, the source's actors with a thread each
UNITS = 40


def pipeline_images_per_s(root: Path) -> float:
    """From the second unit file to the last, by their times."""
    import ray

    from xpaste_ray.pipelines.ray_profile import configure_data, start_ray

    inputs = _inputs(threads=1)
    resources = inputs.settings.resources
    run = RunDir(root)
    write_units(run, inputs)
    start_ray(cpus_booked(resources))
    try:
        configure_data()
        plan = {stage: getattr(resources, stage) for stage in MODEL_STAGES}
        code = stage_code(inputs, plan, "diffusion", run)
        run_units(run, range(UNITS), plan, code, OpenPrompts(run), "benchmark", inputs.embedding_dim)
    finally:
        ray.shutdown()
    written = sorted(path.stat().st_mtime for path in run.candidates.path.glob("*/unit-*.parquet"))
    return (len(written) - 2) * inputs.settings.sources["diffusion"].unit_size / (written[-1] - written[1])


def plain_images_per_s(root: Path) -> float:
    """One process calls the same stage objects, one after the other, and keeps nothing."""
    import cv2

    inputs = _inputs(threads=THREADS)
    run = RunDir(root)
    write_units(run, inputs)
    stages = plain_stages(inputs, run)
    cv2.setNumThreads(THREADS)
    images, began = 0, 0.0
    rows = pa.table({"row": list(range(UNITS))})
    for number, unit in enumerate(OpenPrompts(run)(rows)):
        if number == 1:  # the first one warms up
            images, began = 0, time.perf_counter()
        candidates = unit["candidates"]
        for stage in stages:
            candidates = stage(candidates)
        images += len(candidates)
    return images / (time.perf_counter() - began)


def plain_stages(inputs: Inputs, run: RunDir) -> list[Any]:
    """The objects that the pipeline's actors would hold."""
    resources = inputs.settings.resources
    plan = {stage: getattr(resources, stage) for stage in MODEL_STAGES}
    code = stage_code(inputs, plan, "diffusion", run)
    stages = []
    for told in code.values():
        module, _, name = told.target.partition(":")
        stages.append(getattr(import_module(module), name)(**told.kwargs))
    return stages


def _inputs(threads: int) -> Inputs:
    rounds = UNITS * 8 // 32  # units of 8 prompts, and 32 categories
    options = [
        f"sources.diffusion.threads={threads}",
        f"score.threads={threads}",
        f"prompts.per_category={rounds}",
    ]
    return resolve_inputs(load(PoolSettings, "demo", options))
