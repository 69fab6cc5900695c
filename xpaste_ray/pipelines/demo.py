"""The whole chain in one run: category names in, a labelled dataset out."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xpaste_ray.config import Settings
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.dataset import is_finished
from xpaste_ray.pipelines import pool
from xpaste_ray.pipelines.compose import ComposeJob, make_dataset
from xpaste_ray.pipelines.job import Progress, Summary, finish_record, start_ray, start_record
from xpaste_ray.pipelines.steps import Inputs, Step, plan_steps, resolve_inputs
from xpaste_ray.pool import open_pool
from xpaste_ray.pool.layout import MANIFEST
from xpaste_ray.preview import draw_preview
from xpaste_ray.runs import RunDir, check_steps, open_run, read_json, remove_leftovers


def run_demo(settings: Settings, out: Path, progress: Progress) -> Summary:
    """Make, or finish, the run in `out`. The same settings give the same bytes, however often it
    was interrupted. ConfigError before anything starts if something cannot work."""
    began = time.perf_counter()
    inputs = resolve_inputs(settings)
    steps = plan_steps(inputs)
    with open_run(out) as run:
        check_steps(run, {name: steps[name].settings for name in _made_steps(run)})
        job = _Job(run, inputs, steps, progress)
        if job.is_done():
            return Summary(counts=read_json(run.run_json)["counts"], already_done=True)
        remove_leftovers(run)
        record = start_record(run, settings.model_dump(mode="json"), steps, progress)
        job.make_pool()
        job.make_dataset()
        job.summary.wall_seconds = time.perf_counter() - began
        finish_record(run, record, job.summary)
    return job.summary


def _made_steps(run: RunDir) -> tuple[str, ...]:
    """Steps whose results a change of settings would mix up. Until there is a dataset, a selection
    may be changed: another pool is then sealed beside the first."""
    made: tuple[str, ...] = ()
    if run.candidates.exists():
        made = ("source", "segment", "score")
    if run.dataset.exists():
        made = (*made, "select", "compose")
    return made


@dataclass(slots=True)
class _Job:
    """The work on one run, from what its folder already has."""

    run: RunDir
    inputs: Inputs
    steps: dict[str, Step]
    progress: Progress
    summary: Summary = field(default_factory=Summary)

    def is_done(self) -> bool:
        run, sealed = self.run, self.run.pools / self.steps["select"].fingerprint
        files = (run.units, run.scores, run.rejects, run.pool_json, run.preview)
        if not all(path.exists() for path in (*files, sealed / MANIFEST)):
            return False
        spec = self._compose_job().spec(self.steps["compose"].fingerprint)
        return "counts" in read_json(run.run_json) and is_finished(run.dataset, spec)

    def _compose_job(self) -> ComposeJob:
        settings, backgrounds = self.inputs.settings, self.inputs.backgrounds
        pool = open_pool(self.run.root).in_vocabulary(backgrounds.categories)
        return ComposeJob(settings.compose, settings.seed, pool, backgrounds)

    def make_pool(self) -> None:
        units = pool.write_units(self.run, self.inputs)
        missing = pool.missing_units(self.run, units, self.steps["score"].fingerprint)
        if missing.num_rows:
            self._run_units(missing, units.num_rows)
        scores = pool.compact_scores(self.run, units)
        began = time.perf_counter()
        self.summary.counts |= pool.select_and_seal(self.run, scores, self.inputs, self.steps["select"])
        made = self.summary.counts["candidates"]["made"]
        self.summary.note("select+seal", made, time.perf_counter() - began)

    def _run_units(self, missing: Any, total: int) -> None:
        if missing.num_rows < total:
            self.progress.say(f"continuing: {total - missing.num_rows} of {total} units are done")
        self.progress.say("starting Ray and loading the models (about 20 s)")
        start_ray(self.inputs.settings.resources, self.progress)
        self.progress.begin(dict.fromkeys(pool.STAGES, missing.num_rows), "units")
        images = sum(len(prompts) for prompts in missing["prompts"].to_pylist())
        seconds = pool.run_units(self.run, missing, self.inputs, self.steps["score"].fingerprint)
        for stage in pool.MODEL_STAGES:
            self.summary.note(stage, images, seconds[stage])

    def make_dataset(self) -> None:
        job = self._compose_job()
        if not len(job.pool):
            reasons = self.summary.counts["candidates"]["rejected"]
            raise ConfigError(
                f"no candidate became an instance: {reasons}; {self.run.rejects} names each. If a limit is "
                "too strict, loosen it (--set select...=): the candidates are kept, so only the selection "
                "runs again"
            )
        spec = job.spec(self.steps["compose"].fingerprint)
        resources = self.inputs.settings.resources
        written = make_dataset(job, self.run.dataset, spec, resources, self.progress, self.summary)
        draw_preview(self.run.dataset, self.run.preview)
        drawable = job.pool.rows_by_category
        self.summary.counts |= {
            "dataset": dict(written),
            "categories": {
                "asked": len(job.pool.categories),
                "without_instances": [c.name for c in job.pool.categories if c.id not in drawable],
            },
            "backgrounds": {
                "usable": len(job.backgrounds),
                "rejected": dict(job.backgrounds.rejected_images()),
            },
        }
