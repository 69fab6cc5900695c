"""The compose pipeline: shards of consecutive samples on Ray Data, then what needs all of them."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xpaste_ray import __version__
from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.plan import PLANS, PastePlan, plan_from_row, plan_to_row
from xpaste_ray.compose.shards import compose_shard, dataset_spec
from xpaste_ray.config import ComposeSettings, ResourceSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.formats.contract import DatasetSpec
from xpaste_ray.formats.dataset import finish, missing_shards
from xpaste_ray.formats.shards import Shard
from xpaste_ray.pipelines.job import Progress, Summary, start_ray
from xpaste_ray.pipelines.steps import Step, compose_recipe
from xpaste_ray.pool import Pool
from xpaste_ray.runs import made_by, write_parquet
from xpaste_ray.worker import prepare_worker

_SHARDS = pa.schema([pa.field("first", pa.int64()), pa.field("last", pa.int64())])
_MAX_BLOCKS = 2000  # the driver keeps a few kB of each


@dataclass(frozen=True, slots=True)
class ComposeJob:
    """Everything that a dataset is composed from, opened and checked. `plans`: a folder of plans that
    are rendered instead of made. Another process that gets a job maps pool and backgrounds itself."""

    settings: ComposeSettings
    seed: int
    pool: Pool
    backgrounds: Backgrounds
    plans: Path | None = None

    def step(self) -> Step:
        """Recipe and fingerprint of the dataset, whatever the pool was made by."""
        recipe = {
            **compose_recipe(self.settings, self.backgrounds, self.seed),
            "pool": self.pool.fingerprint,
            "plans": self.plans and plans_fingerprint(self.plans),
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


def plan_file(folder: Path, shard: Shard) -> Path:
    return folder / f"plans-{shard.name}.parquet"


def write_plans(job: ComposeJob, folder: Path, shards: list[Shard], recipe: str) -> Iterator[int]:
    """Plan the shards that have no file of this recipe yet; yields the samples of each that is done."""
    compositor = job.compositor()
    for shard in shards:
        path = plan_file(folder, shard)
        if made_by(path) != recipe:
            rows = [plan_to_row(compositor.plan(sample)) for sample in shard.indices]
            write_parquet(path, pa.Table.from_pylist(rows, schema=PLANS), recipe)
        yield len(shard.indices)


def read_plans(folder: Path, shard: Shard) -> Iterator[PastePlan]:
    """The shard's plans. ConfigError if they are not there."""
    path = plan_file(folder, shard)
    if not path.is_file():
        raise ConfigError(f"{path} is missing: write the plans again with --plans-only")
    plans = map(plan_from_row, pq.read_table(path, schema=PLANS).to_pylist())
    return iter(plans)


def plan_shards_of(folder: Path) -> list[Shard]:
    """The ranges of a folder of plans. ConfigError if it holds none."""
    names = sorted(path.stem.removeprefix("plans-") for path in folder.glob("plans-*-*.parquet"))
    if not names:
        raise ConfigError(f"{folder} holds no plans (plans-*.parquet): write them with --plans-only")
    ranges = [tuple(map(int, name.split("-"))) for name in names]
    return [Shard(first, last) for first, last in ranges]


def plans_fingerprint(folder: Path) -> str:
    """Of what was planned: every file carries the recipe that it was made by."""
    return fingerprint({s.name: made_by(plan_file(folder, s)) for s in plan_shards_of(folder)})


class ComposeActor:
    """Writes shards. It maps the pool and the backgrounds once; plans follow from sample numbers."""

    def __init__(self, job: ComposeJob, dataset: Path, spec: DatasetSpec) -> None:
        self._dataset, self._plans, self._spec = dataset, job.plans, spec
        self._compositor = job.compositor()
        prepare_worker()

    def __call__(self, batch: pa.Table) -> pa.Table:
        began = time.perf_counter()
        for row in batch.to_pylist():
            shard = Shard(row["first"], row["last"])
            plans = read_plans(self._plans, shard) if self._plans else None
            compose_shard(self._dataset, shard, self._compositor, self._spec, plans)
        return pa.table({"seconds": [time.perf_counter() - began]})


def run_shards(job: ComposeJob, dataset: Path, shards: list[Shard], spec: DatasetSpec, actors: int) -> float:
    """Compose the given shards on actors; returns their busy seconds.

    Ray must be running and its data context configured.
    """
    import ray.data

    from xpaste_ray.pipelines.ray_profile import actor_stage

    size = -(-len(shards) // _MAX_BLOCKS)
    rows = [{"first": shard.first, "last": shard.last} for shard in shards]
    blocks = [pa.Table.from_pylist(rows[i : i + size], schema=_SHARDS) for i in range(0, len(rows), size)]
    kwargs = {"job": job, "dataset": dataset, "spec": spec}
    composed = actor_stage(ray.data.from_arrow(blocks), "compose", ComposeActor, actors, kwargs)
    return float(sum(row["seconds"] for row in composed.iter_rows()))


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
        if len(missing) < len(spec.shards):
            progress.say(
                f"continuing: {len(spec.shards) - len(missing)} of {len(spec.shards)} shards are done"
            )
        start_ray(resources, progress)
        progress.begin({"compose": len(missing)}, "shards")
        seconds = run_shards(job, dataset, missing, spec, resources.compose_actors)
        summary.note("compose", sum(len(shard.indices) for shard in missing), seconds)
    return finish(dataset, spec)
