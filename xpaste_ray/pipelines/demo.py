"""The whole chain in one run: category names in, a labelled dataset out."""

import time
from dataclasses import dataclass
from pathlib import Path

from xpaste_ray.backgrounds import AnyBackgrounds
from xpaste_ray.compose.recipe import compose_recipe
from xpaste_ray.config import Settings
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.dataset import is_finished
from xpaste_ray.pipelines.compose import ComposeJob, make_dataset
from xpaste_ray.pipelines.job import Progress, Summary, finish_record, start_record
from xpaste_ray.pipelines.pool import PoolJob
from xpaste_ray.pipelines.steps import open_backgrounds, plan_steps, resolve_inputs
from xpaste_ray.pool import open_pool
from xpaste_ray.preview import draw_preview
from xpaste_ray.runs import RunDir, check_steps, open_run, read_json, remove_leftovers


def run_demo(settings: Settings, out: Path, progress: Progress) -> Summary:
    """Make, or finish, the run in `out`. The same settings give the same bytes, however often it
    was interrupted. ConfigError before anything starts if something cannot work."""
    began = time.perf_counter()
    inputs, backgrounds = resolve_inputs(settings), open_backgrounds(settings)
    steps = plan_steps(inputs, compose_recipe(settings.compose, backgrounds, settings.seed))
    with open_run(out, progress.say) as run:
        check_steps(run, {name: steps[name].settings for name in _made_steps(run)})
        pool = PoolJob(run, inputs, steps, progress)
        job = _DatasetJob(pool, settings, backgrounds)
        if pool.is_done() and job.is_done():
            return Summary(counts=read_json(run.run_json)["counts"], already_done=True)
        remove_leftovers(run)
        record = start_record(run, settings.model_dump(mode="json"), steps, progress)
        pool.make()
        job.make()
        pool.summary.wall_seconds = time.perf_counter() - began
        finish_record(run, record, pool.summary)
    return pool.summary


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
class _DatasetJob:
    """The dataset of a run whose pool is made."""

    pool: PoolJob
    settings: Settings
    backgrounds: AnyBackgrounds

    def is_done(self) -> bool:
        run = self.pool.run
        if not run.preview.exists():
            return False
        job = self._compose_job()
        spec = job.spec(job.step().fingerprint)
        return "dataset" in read_json(run.run_json)["counts"] and is_finished(run.dataset, spec)

    def _compose_job(self) -> ComposeJob:
        pool = open_pool(self.pool.run.root).in_vocabulary(self.backgrounds.categories)
        return ComposeJob(self.settings.compose, self.settings.seed, pool, self.backgrounds)

    def make(self) -> None:
        job, run, summary = self._compose_job(), self.pool.run, self.pool.summary
        if not len(job.pool):
            reasons = summary.counts["candidates"]["rejected"]
            raise ConfigError(
                f"no candidate became an instance: {reasons}; {run.rejects} names each. If a limit is "
                "too strict, loosen it (--set select...=): the candidates are kept, so only the selection "
                "runs again"
            )
        spec = job.spec(job.step().fingerprint)  # the pool's too: another one's images are no part of it
        resources = self.settings.resources
        written = make_dataset(job, run.dataset, spec, resources, self.pool.progress, summary)
        draw_preview(run.dataset, run.preview)
        drawable = job.pool.rows_by_category
        summary.counts |= {
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
