"""A folder of plans: Parquet files of consecutive samples, then `plans.json`, which makes them whole."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from xpaste_ray.compose.plan import PLANS, PastePlan, plan_from_row, plan_to_row
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_folder
from xpaste_ray.formats.shards import Shard, plan_shards
from xpaste_ray.runs import made_by, read_json, write_json, write_parquet

_WHOLE = "plans.json"


@dataclass(frozen=True, slots=True)
class PlanFolder:
    """`count` plans, `samples_per_shard` of them in a file but for the last."""

    folder: Path
    count: int
    samples_per_shard: int

    @property
    def shards(self) -> list[Shard]:
        return plan_shards(self.count, self.samples_per_shard)

    @property
    def fingerprint(self) -> str:
        """Of the files' bytes: plans may have been edited."""
        return hash_folder(self.folder)

    def read(self, shard: Shard) -> Iterator[PastePlan]:
        """The shard's plans, in order. ConfigError if the file does not hold them."""
        path = _plan_file(self.folder, shard)
        try:
            plans = [plan_from_row(row) for row in pq.read_table(path, schema=PLANS).to_pylist()]
        except (OSError, pa.ArrowInvalid) as error:
            raise ConfigError(f"{path} is not readable ({error}): write the plans again") from None
        if [plan.sample for plan in plans] != list(shard.indices):
            raise ConfigError(f"{path} does not hold the plans of samples {shard.first} to {shard.last}")
        return iter(plans)

    def plan(self, sample: int) -> PastePlan:
        """One plan. ConfigError if it is not there."""
        for shard in self.shards:
            if shard.first <= sample <= shard.last:
                return next(plan for plan in self.read(shard) if plan.sample == sample)
        raise ConfigError(f"{self.folder} has no plan of sample {sample}: it has 0 to {self.count - 1}")


def open_plans(folder: Path) -> PlanFolder:
    """ConfigError if the plans are not there, or not all of them."""
    if not (folder / _WHOLE).is_file():
        unfinished = any(folder.glob("plans-*.parquet"))
        what = "holds only some of its plans" if unfinished else "holds no plans"
        raise ConfigError(f"{folder} {what} ({_WHOLE} is missing): write them with --plans-only")
    told = read_json(folder / _WHOLE)
    try:
        plans = PlanFolder(folder, int(told["count"]), int(told["samples_per_shard"]))
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{folder / _WHOLE} is damaged: write the plans again with --plans-only") from None
    for shard in plans.shards:
        path = _plan_file(folder, shard)
        if not path.is_file():
            raise ConfigError(f"{path} is missing: write it again with --plans-only")
    return plans


def missing_plans(folder: Path, shards: Iterable[Shard], recipe: str) -> list[Shard]:
    """The shards that have no file of this recipe yet."""
    return [shard for shard in shards if made_by(_plan_file(folder, shard)) != recipe]


def write_plans(folder: Path, shard: Shard, plans: Iterable[PastePlan], recipe: str) -> None:
    table = pa.Table.from_pylist([plan_to_row(plan) for plan in plans], schema=PLANS)
    write_parquet(_plan_file(folder, shard), table, recipe)


def finish_plans(plans: PlanFolder) -> None:
    """Say that all files are there."""
    told = {"count": plans.count, "samples_per_shard": plans.samples_per_shard}
    write_json(plans.folder / _WHOLE, told)


def _plan_file(folder: Path, shard: Shard) -> Path:
    return folder / f"plans-{shard.name}.parquet"
