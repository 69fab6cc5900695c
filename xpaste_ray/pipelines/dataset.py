"""`xpaste compose`: a sealed pool and backgrounds in, a labelled dataset out."""

import time
from pathlib import Path
from typing import Any

from xpaste_ray.backgrounds import AnyBackgrounds, MixedBackgrounds
from xpaste_ray.config import DatasetSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.contract import SPEC_FILE
from xpaste_ray.formats.dataset import is_finished
from xpaste_ray.pipelines.compose import ComposeJob, make_dataset, make_plans
from xpaste_ray.pipelines.job import Progress, Summary, finish_record, start_record
from xpaste_ray.pipelines.plans import open_plans
from xpaste_ray.pipelines.steps import Step, open_backgrounds
from xpaste_ray.pool import open_pool
from xpaste_ray.runs import RunDir, check_steps, open_run, read_json, remove_asides

PLANS_FOLDER = "plans"


def open_job(settings: DatasetSettings, pool: str | Path, plans: Path | None = None) -> ComposeJob:
    """Open and check everything that is composed from. Raises ConfigError.

    With a folder of plans, the number of samples and of those in a shard are theirs.
    """
    compose = settings.compose
    planned = open_plans(plans) if plans else None
    if planned:
        theirs = {"count": planned.count, "samples_per_shard": planned.samples_per_shard}
        compose = compose.model_copy(update=theirs)
    instances, backgrounds = open_pool(pool), open_backgrounds(settings)
    job = ComposeJob(
        compose, settings.seed, instances.in_vocabulary(backgrounds.categories), backgrounds, planned
    )
    job.compositor()  # so that rules which cannot work are refused before anything starts
    return job


def compose_dataset(job: ComposeJob, settings: DatasetSettings, out: Path, progress: Progress) -> Summary:
    """Make, or finish, the dataset in `out`. The same job gives the same bytes, however often it was
    interrupted and on however many workers. ConfigError before anything starts if something cannot work.
    """
    began = time.perf_counter()
    step = job.step()
    spec = job.spec(step.fingerprint)
    with open_run(out, progress.say) as run:
        _check_folder(run, step)
        if is_finished(out, spec) and "counts" in read_json(run.run_json):
            return Summary(counts=read_json(run.run_json)["counts"], already_done=True)
        remove_asides(out)
        if job.backgrounds.categories:
            progress.say(_vocabulary(job))
        record = start_record(run, settings.model_dump(mode="json"), {"compose": step}, progress)
        summary = Summary()
        written = make_dataset(job, out, spec, settings.resources, progress, summary)
        summary.counts = {"dataset": dict(written), **_background_counts(job.backgrounds)}
        summary.wall_seconds = time.perf_counter() - began
        finish_record(run, record, summary)
    return summary


def write_dataset_plans(job: ComposeJob, settings: DatasetSettings, out: Path, progress: Progress) -> Path:
    """Write the dataset's plans, and nothing else, into `out`/plans; returns that folder."""
    step = job.step()
    with open_run(out, progress.say) as run:
        _check_folder(run, step)
        if not run.run_json.exists():  # else the dataset's own
            start_record(run, settings.model_dump(mode="json"), {"compose": step}, progress)
        make_plans(job, out / PLANS_FOLDER, step.fingerprint, settings.resources, progress)
    return out / PLANS_FOLDER


def _background_counts(backgrounds: AnyBackgrounds) -> dict[str, Any]:
    """Usable and rejected images; contexts, if there are any, beside the originals."""
    told: dict[str, Any] = {
        "backgrounds": {
            "usable": len(backgrounds) - backgrounds.context_count,
            "rejected": dict(backgrounds.rejected),
            "rejected_annotations": dict(backgrounds.rejected_annotations),
        }
    }
    if isinstance(backgrounds, MixedBackgrounds):
        contexts = backgrounds.contexts
        told["contexts"] = {"usable": len(contexts), "rejected": dict(contexts.rejected)}
    return told


def _vocabulary(job: ComposeJob) -> str:
    """How the pool's categories are numbered among those of the backgrounds."""
    theirs = {category.id for category in job.backgrounds.categories}
    added = [category.name for category in job.pool.categories if category.id not in theirs]
    shared = len(job.pool.categories) - len(added)
    new = f"; {len(added)} are new: {', '.join(added[:5])}{' ...' if len(added) > 5 else ''}" if added else ""
    return f"{shared} of the pool's {len(job.pool.categories)} categories are the backgrounds', by name{new}"


def _check_folder(run: RunDir, step: Step) -> None:
    """Refuse a folder with another dataset, or with anything else that is not ours."""
    check_steps(run, {"compose": step.settings})
    strange = [path.name for path in run.root.path.iterdir() if not path.name.startswith(".")]
    if strange and not run.run_json.exists() and not (run.root / SPEC_FILE).exists():
        raise ConfigError(
            f"--out {run.root} holds other files ({', '.join(sorted(strange)[:3])}): choose a new folder"
        )
