"""A driver of its own process: builds a pool as `xpaste pool build` does, but with stand-in stages.

python -m tests.pipelines.faults.driver JOB.pickle
"""

import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import standins
from xpaste_ray import cli, runs
from xpaste_ray.config import PoolSettings, load
from xpaste_ray.pipelines.build import BuildOptions, build_pool
from xpaste_ray.report import ConsoleProgress

SMALL = (
    "categories.names=[banana,frog,lion,pear]",
    "prompts.per_category=6",
    "sources.diffusion.unit_size=2",
    *(f"resources.{stage}.actors=1" for stage in ("source", "segment", "score")),
)  # 24 images in 12 units, "00000/unit-00000" to "00005/unit-00001"


@dataclass(frozen=True)
class Job:
    """What to build. stages: constructor arguments of the stand-ins, by stage."""

    out: Path
    overrides: tuple[str, ...] = SMALL
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sequential: bool = False
    retry_failed: bool = False
    min_free_bytes: int = runs.MIN_FREE_BYTES


def build(job: Job) -> None:
    runs.MIN_FREE_BYTES = job.min_free_bytes
    order = "sequential" if job.sequential else "streaming"
    options = BuildOptions(order, job.retry_failed, code=standins.code(**job.stages))
    with ConsoleProgress() as progress:
        build_pool(load(PoolSettings, "demo", job.overrides), job.out, progress, options)
    print("done", flush=True)


if __name__ == "__main__":
    job = pickle.loads(Path(sys.argv[1]).read_bytes())
    cli.app = lambda: build(job)  # errors become messages and exit codes where they do for users
    cli.main()
