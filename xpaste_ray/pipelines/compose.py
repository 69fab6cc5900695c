"""The compose pipeline: shards of consecutive samples on Ray Data, then what needs all of them."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from xpaste_ray import __version__
from xpaste_ray.backgrounds import AnyBackgrounds
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.recipe import compose_recipe
from xpaste_ray.compose.shards import compose_shard, dataset_spec
from xpaste_ray.config import ComposeSettings, ResourceSettings, StageResources
from xpaste_ray.errors import ConfigError, RowError, RunError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.formats.contract import DatasetSpec
from xpaste_ray.formats.dataset import finish, missing_shards
from xpaste_ray.formats.shards import Shard
from xpaste_ray.pipelines.figures import StageFigures
from xpaste_ray.pipelines.job import Progress, Summary, start_ray
from xpaste_ray.pipelines.plans import PlanFolder, finish_plans, missing_plans, write_plans
from xpaste_ray.pipelines.resources import compose_resources
from xpaste_ray.pipelines.steps import Step
from xpaste_ray.pool import Pool
from xpaste_ray.storage import locate
from xpaste_ray.worker import prepare_worker

_SHARDS = pa.schema([pa.field("first", pa.int64()), pa.field("last", pa.int64())])
_REPORTS = pa.schema(
    [pa.field("seconds", pa.float64()), pa.field("problem", pa.string()), pa.field("is_mistake", pa.bool_())]
)
_MAX_BLOCKS = 2000  # the driver keeps a few kB of each
_SERIAL_BELOW = 5000  # plans; starting Ray takes longer than making these


@dataclass(frozen=True, slots=True)
class ComposeJob:
    """Everything that a dataset is composed from, opened and checked. `plans` are rendered
    instead of new ones. Another process that gets a job maps pool and backgrounds itself."""

    settings: ComposeSettings
    seed: int
    pool: Pool
    backgrounds: AnyBackgrounds
    plans: PlanFolder | None = None

    def step(self) -> Step:
        """Recipe and fingerprint of the dataset, whatever the pool was made by."""
        recipe = {
            **compose_recipe(self.settings, self.backgrounds, self.seed),
            "pool": self.pool.fingerprint,
            "plans": self.plans and self.plans.fingerprint,
        }
        return Step(recipe, fingerprint(recipe))

    def spec(self, recipe: str) -> DatasetSpec:
        info = {
            "description": "Composed by xpaste_ray",
            "version": __version__,
            "pool": self.pool.fingerprint,
            "recipe": recipe,
        }
        return dataset_spec(self.settings, self.pool, self.backgrounds, recipe, info)

    def compositor(self) -> Compositor:
        return Compositor(self.pool, self.backgrounds, self.settings, self.seed)


class PlanActor:
    """Writes the plans of shards."""

    def __init__(self, job: ComposeJob, folder: Path, recipe: str) -> None:
        self._folder, self._recipe = folder, recipe
        self._compositor = job.compositor()
        prepare_worker()

    def __call__(self, batch: pa.Table) -> pa.Table:
        return report_shards(batch, self._write)

    def _write(self, shard: Shard) -> None:
        write_plans(self._folder, shard, map(self._compositor.plan, shard.indices), self._recipe)


class ComposeActor:
    """Writes shards. It maps the pool and the backgrounds once; plans follow from sample numbers."""

    def __init__(self, job: ComposeJob, dataset: Path, spec: DatasetSpec) -> None:
        self._dataset, self._plans, self._spec = dataset, job.plans, spec
        self._compositor = job.compositor()
        prepare_worker()

    def __call__(self, batch: pa.Table) -> pa.Table:
        return report_shards(batch, self._write)

    def _write(self, shard: Shard) -> None:
        plans = self._plans.read(shard) if self._plans else None
        compose_shard(self._dataset, shard, self._compositor, self._spec, plans)


def shard_blocks(shards: list[Shard], size: int) -> list[pa.Table]:
    """A work list for actors, `size` ranges of samples a block."""
    rows = [{"first": shard.first, "last": shard.last} for shard in shards]
    return [pa.Table.from_pylist(rows[i : i + size], schema=_SHARDS) for i in range(0, len(rows), size)]


def shards_of(block: pa.Table) -> list[Shard]:
    """The ranges of a block of a work list."""
    return [Shard(row["first"], row["last"]) for row in block.to_pylist()]


def report_shards(batch: pa.Table, write: Callable[[Shard], None]) -> pa.Table:
    """Write the batch's shards; returns how long it took and what the user must mend, if anything, in what
    was asked for or elsewhere: an exception would reach the driver as Ray's, with its text inside a trace."""
    began = time.perf_counter()
    problem: str | None = None
    is_mistake = False
    try:
        for shard in shards_of(batch):
            write(shard)
    except (ConfigError, RowError, RunError) as error:
        problem, is_mistake = str(error), not isinstance(error, RunError)
    seconds = time.perf_counter() - began
    report = {"seconds": [seconds], "problem": [problem], "is_mistake": [is_mistake]}
    return pa.table(report, schema=_REPORTS)


def run_shards(
    name: str, actor: type, kwargs: dict[str, Any], shards: list[Shard], actors: StageResources
) -> float:
    """Give the shards to actors, which answer with `report_shards`; returns their busy seconds. ConfigError
    or RunError for what an actor met.

    Ray must be running and its data context configured.
    """
    from xpaste_ray.pipelines.ray_profile import actor_stage, dataset_of

    blocks = shard_blocks(shards, -(-len(shards) // _MAX_BLOCKS))
    done = actor_stage(dataset_of(blocks), name, actor, actors, kwargs)
    seconds = 0.0
    for report in done.iter_rows():
        if report["problem"]:
            raise (ConfigError if report["is_mistake"] else RunError)(report["problem"])
        seconds += report["seconds"]
    return seconds


def _actors(resources: ResourceSettings, shards: list[Shard]) -> StageResources:
    return compose_resources(min(resources.compose.actors, len(shards)))


def make_plans(
    job: ComposeJob, folder: Path, recipe: str, resources: ResourceSettings, progress: Progress
) -> None:
    """Write what is missing of the job's plans."""
    plans = PlanFolder(folder, job.settings.count, job.settings.samples_per_shard)
    missing = missing_plans(folder, plans.shards, recipe)
    if sum(len(shard.indices) for shard in missing) < _SERIAL_BELOW:
        compositor = job.compositor()
        for shard in missing:
            write_plans(folder, shard, map(compositor.plan, shard.indices), recipe)
    else:
        start_ray(resources, progress)
        progress.begin({"plan": len(missing)}, "shards")
        kwargs = {"job": job, "folder": folder, "recipe": recipe}
        run_shards("plan", PlanActor, kwargs, missing, _actors(resources, missing))
    finish_plans(plans)


def make_dataset(
    job: ComposeJob,
    dataset: Path,
    spec: DatasetSpec,
    resources: ResourceSettings,
    progress: Progress,
    summary: Summary,
) -> Counter[str]:
    """Write what is missing of the dataset; returns the counts of all of it."""
    missing = missing_shards(dataset, spec)
    if missing:
        from xpaste_ray.pipelines.nodes import check_shared

        if len(missing) < len(spec.shards):
            progress.say(
                f"continuing: {len(spec.shards) - len(missing)} of {len(spec.shards)} shards are done"
            )
        start_ray(resources, progress)
        check_shared(locate(dataset), "--out")
        progress.begin({"compose": len(missing)}, "shards")
        kwargs = {"job": job, "dataset": dataset, "spec": spec}
        began = time.perf_counter()
        actors = _actors(resources, missing)
        seconds = run_shards("compose", ComposeActor, kwargs, missing, actors)
        images, wall_s = sum(len(shard.indices) for shard in missing), time.perf_counter() - began
        figures = StageFigures(images, seconds, wall_s, actors.actors)
        summary.figures.note_pass({"compose": figures}, wall_s)
    return finish(dataset, spec)
