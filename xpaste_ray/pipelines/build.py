"""`xpaste pool build`: category names in, a sealed instance pool out."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from xpaste_ray.config import PoolSettings
from xpaste_ray.pipelines.job import Progress, Summary, finish
from xpaste_ray.pipelines.opening import notes_on
from xpaste_ray.pipelines.pool import Order, PoolJob
from xpaste_ray.pipelines.stage_code import StageCode
from xpaste_ray.pipelines.steps import plan_steps, resolve_inputs
from xpaste_ray.runs import RunDir, check_steps, open_run


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a pool is built; none of it changes a byte of it.

    `code`: other stages than the models' own, by name: what they make must depend on the settings only.
    """

    order: Order = "streaming"
    retry_failed: bool = False
    code: Mapping[str, StageCode] = field(default_factory=lambda: MappingProxyType({}))


_USUAL = BuildOptions()


def plan_pool(
    settings: PoolSettings, out: str | Path, progress: Progress, options: BuildOptions = _USUAL
) -> None:
    """Tell what `build_pool` would do, and write nothing. ConfigError as there."""
    _open_job(settings, RunDir(out), progress, options, may_search=False).show_plan()


def build_pool(
    settings: PoolSettings, out: str | Path, progress: Progress, options: BuildOptions = _USUAL
) -> Summary:
    """Make, or finish, the pool of the run in `out`. The same settings give the same bytes, on however
    many nodes and however often it was interrupted.

    ConfigError before anything starts if something cannot work; RunError if the run cannot go on.
    """
    began = time.perf_counter()
    with open_run(out, progress.say) as run:
        job = _open_job(settings, run, progress, options)
        return finish(run, job, settings.model_dump(mode="json"), progress, began)


def _open_job(
    settings: PoolSettings, run: RunDir, progress: Progress, options: BuildOptions, may_search: bool = True
) -> PoolJob:
    inputs = resolve_inputs(settings, run, progress, may_search)
    for note in notes_on(settings, inputs.sources):
        progress.say(note)
    steps = plan_steps(inputs)
    check_steps(run, {name: steps[name].settings for name in _made_steps(run)})
    return PoolJob(
        run, inputs, steps, progress,
        order=options.order, retry_failed=options.retry_failed, code=options.code,
    )  # fmt: skip


def _made_steps(run: RunDir) -> tuple[str, ...]:
    """Steps whose results a change of settings would mix up. Another selection is sealed beside the first."""
    return ("source", "segment", "score") if run.candidates.exists() else ()
