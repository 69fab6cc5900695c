"""`xpaste pool build`: category names in, a sealed instance pool out."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from xpaste_ray.config import PoolSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.pipelines.job import Progress, Summary, finish_record, start_record
from xpaste_ray.pipelines.pool import Order, PoolJob, StageCode
from xpaste_ray.pipelines.steps import plan_steps, resolve_inputs
from xpaste_ray.runs import RunDir, check_steps, open_run, read_json, remove_leftovers


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a pool is built; none of it changes a byte of it.

    `code`: other stages than the models' own, by name: what they make must depend on the settings only.
    """

    order: Order = "streaming"
    retry_failed: bool = False
    dry_run: bool = False
    code: Mapping[str, StageCode] = field(default_factory=lambda: MappingProxyType({}))


def build_pool(
    settings: PoolSettings, out: str | Path, progress: Progress, options: BuildOptions = BuildOptions()
) -> Summary:
    """Make, or finish, the pool of the run in `out`. The same settings give the same bytes, on however
    many nodes and however often it was interrupted.

    ConfigError before anything starts if something cannot work; RunError if the run cannot go on.
    """
    began = time.perf_counter()
    inputs = resolve_inputs(settings)
    steps = plan_steps(inputs)
    with open_run(out, progress.say) as run:
        check_steps(run, {name: steps[name].settings for name in _made_steps(run)})
        job = PoolJob(
            run, inputs, steps, progress,
            order=options.order, retry_failed=options.retry_failed, code=options.code,
        )  # fmt: skip
        if job.is_done():
            return Summary(counts=read_json(run.run_json)["counts"], already_done=True)
        remove_leftovers(run)
        if options.dry_run:
            job.show_plan()
            return job.summary
        record = start_record(run, settings.model_dump(mode="json"), steps, progress)
        job.make()
        job.summary.wall_seconds = time.perf_counter() - began
        finish_record(run, record, job.summary)
    return job.summary


def _made_steps(run: RunDir) -> tuple[str, ...]:
    """Steps whose results a change of settings would mix up. Another selection is sealed beside the first."""
    return ("source", "segment", "score") if run.candidates.exists() else ()


def check_absolute(option: str, path: str) -> None:
    """Inside a Ray job, whose working directory is a copy that goes with it, a relative path is a loss."""
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    if in_job and "://" not in path and not Path(path).is_absolute():
        raise ConfigError(
            f"{option} {path}: inside a Ray job a relative path lies in the job's own copy of the working "
            "directory, which is deleted: give s3://..., gs://... or an absolute path on a shared disk"
        )
