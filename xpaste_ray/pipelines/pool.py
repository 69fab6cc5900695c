"""The pool pipeline: units -> source -> segment -> score -> unit files, then select and seal."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.config import DiffusionSource, StageResources
from xpaste_ray.errors import RunError
from xpaste_ray.pipelines.adapter import Opener, StageActor
from xpaste_ray.pipelines.figures import StageFigures, acceptance
from xpaste_ray.pipelines.job import Progress, Summary, start_ray
from xpaste_ray.pipelines.ledger import LedgerState
from xpaste_ray.pipelines.metrics import RayRecorder
from xpaste_ray.pipelines.pools import explained, pointer, pool_folder, select_and_seal
from xpaste_ray.pipelines.resources import MODEL_STAGES, Plan, describe, plan_pass, threads_of
from xpaste_ray.pipelines.scores import compact_scores, scores_recipe
from xpaste_ray.pipelines.stage_code import Code, stage_code
from xpaste_ray.pipelines.steps import Inputs, Step, units_recipe
from xpaste_ray.pipelines.units import (
    OpenFiles,
    OpenPrompts,
    UnitName,
    missing_rows,
    planned_units,
    row_blocks,
    unit_names,
    units,
    write_units,
)
from xpaste_ray.pool import Pool, is_sealed, open_pool
from xpaste_ray.records import instance_ids, unit_id
from xpaste_ray.runs import RunDir, json_bytes, made_by, open_parquet, read_json
from xpaste_ray.storage import Location

if TYPE_CHECKING:
    from xpaste_ray.pipelines.ray_profile import RemoteLedger

Order = Literal["streaming", "sequential"]
"""All stages at once, or one after the other for a card that cannot hold all models."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Stages that a run's units go through together. source: only its units; None for those of all."""

    stages: tuple[str, ...]
    source: str | None = None


@dataclass(slots=True)
class PoolJob:
    """The work on one run's pool, from what its folder already has.

    `code`: other stages than the models' own, by name. `retry_failed`: units with a rejection that may
    have passed are run again.
    """

    run: RunDir
    inputs: Inputs
    steps: dict[str, Step]
    progress: Progress
    summary: Summary = field(default_factory=Summary)
    order: Order = "streaming"
    retry_failed: bool = False
    code: Code = field(default_factory=dict)

    def is_done(self) -> bool:
        """Whether all files are there, with their ends, and this selection is the current one."""
        run, selected = self.run, self.steps["select"].fingerprint
        if self.retry_failed or not (run.run_json.exists() and run.pool_json.exists()):
            return False
        return (
            "candidates" in read_json(run.run_json).get("counts", {})
            and made_by(run.units) == units_recipe(self.inputs)
            and made_by(run.scores) == self._scores_recipe()
            and made_by(run.rejects) == selected
            and self._is_current(pool_folder(run, selected))
            and not self._missing(Pass(MODEL_STAGES), unit_names(run))
        )

    def _is_current(self, pool: Location) -> bool:
        return is_sealed(pool) and self.run.pool_json.read_bytes() == json_bytes(pointer(self.run, pool))

    def make(self) -> None:
        """Make what is missing: units, scores, the sealed pool. Counts and times go to the summary."""
        write_units(self.run, self.inputs)
        units = unit_names(self.run)
        passes = [(one, self._missing(one, units)) for one in self._passes()]
        if any(missing for _, missing in passes):
            self.run.scores.remove()  # of units that may change: should this end early, they are out of date
            plans = self._tell_plans(passes, units)
            self._check_nodes()
            for one, missing in passes:
                if missing:
                    self._run_pass(one, plans[one], missing)
        last = MODEL_STAGES[-1]
        self._select_and_seal({units[row].id for one, rows in passes if last in one.stages for row in rows})

    def show_plan(self) -> None:
        """Tell what `make` would do, and write nothing."""
        units = planned_units(self.inputs)
        self._tell_plans([(one, self._missing(one, units)) for one in self._passes()], units)

    def _passes(self) -> list[Pass]:
        """Source after source: each has actors of its own, and they need not fit in beside each other."""
        names = list(self.inputs.sources)
        if self.order == "streaming":
            return [Pass(MODEL_STAGES, name) for name in names]
        made = [Pass(("source",), name) for name in names]
        return [*made, *(Pass((stage,)) for stage in MODEL_STAGES[1:])]

    def _missing(self, one: Pass, units: Sequence[UnitName]) -> list[int]:
        """Rows of the work list that have not been through these stages, nor through later ones."""
        further = MODEL_STAGES[MODEL_STAGES.index(one.stages[-1]) :]
        recipes = [self.steps[stage].fingerprint for stage in further]
        own = [row for row, unit in enumerate(units) if one.source in (None, unit.source)]
        missing = missing_rows(self.run, [units[row] for row in own], recipes, self.retry_failed)
        return [own[place] for place in missing]

    def _tell_plans(
        self, passes: list[tuple[Pass, list[int]]], units: Sequence[UnitName]
    ) -> dict[Pass, Plan]:
        """Start or find Ray, which knows what there is. ConfigError if the cluster cannot hold the plan of a
        pass that has something to do."""
        from xpaste_ray.pipelines.ray_profile import cluster_nodes

        missing = len({row for _, rows in passes for row in rows})
        if missing < len(units):
            self.progress.say(f"continuing: {len(units) - missing} of {len(units)} units are done")
        self.progress.say("starting Ray")
        settings = self.inputs.settings
        reads = any(not isinstance(source, DiffusionSource) for source in settings.sources.values())
        start_ray(settings.resources, self.progress, reads)
        nodes = cluster_nodes()
        plans = {
            one: plan_pass(settings, one.stages, one.source, nodes)
            for one, rows in passes
            if rows or len(passes) == 1
        }
        numbers = {one: len(rows) for one, rows in passes}
        for one, plan in plans.items():
            self.progress.say(describe(plan, numbers[one], one.source))
        return plans

    def _check_nodes(self) -> None:
        from xpaste_ray.pipelines.nodes import check_shared

        check_shared(self.run.root, "--out")

    def _run_pass(self, one: Pass, plan: Plan, rows: list[int]) -> None:
        code = {**stage_code(self.inputs, plan, one.source, self.run), **self.code}
        self.progress.begin(dict.fromkeys((*one.stages, "write"), len(rows)), "units")
        opener: Opener = OpenPrompts(self.run) if one.stages[0] == "source" else OpenFiles(self.run)
        recipe = self.steps[one.stages[-1]].fingerprint
        began = time.perf_counter()
        dim = self.inputs.embedding_dim
        state = run_units(self.run, rows, plan, code, opener, recipe, dim, self.progress)
        wall_s = time.perf_counter() - began
        figures = {name: self._figures(one, name, plan[name], state, wall_s) for name in one.stages}
        self.summary.figures.note_pass(figures, wall_s)

    def _figures(
        self, one: Pass, stage: str, resources: StageResources, state: LedgerState, wall_s: float
    ) -> StageFigures:
        totals = state.totals[stage]
        return StageFigures(
            totals.images,
            totals.seconds,
            wall_s,
            resources.actors,
            resources.actors * resources.gpus,
            threads_of(self.inputs.settings, stage, one.source),
            totals.load_seconds,
            state.deaths.get(stage, 0),
        )

    def _note_acceptance(self, made_units: set[str]) -> None:
        """What became of the units that were made."""
        figures = self.summary.figures
        if figures.stages:
            scores = open_parquet(self.run.scores).read(
                ["round", "unit", "candidate_id", "method", "ordinal"]
            )
            kept = kept_of(made_units, open_pool(self.run.root), scores)
            figures.acceptance = acceptance(kept, figures.stages)

    def _scores_recipe(self) -> str:
        return scores_recipe(units_recipe(self.inputs), self.steps["score"].fingerprint)

    def _select_and_seal(self, made_units: set[str]) -> None:
        """`made_units`: that this job has finished."""
        began = time.perf_counter()
        with explained(self.run):
            if made_by(self.run.scores) != self._scores_recipe():
                self.progress.say("gathering scores")
                compact_scores(self.run, self._scores_recipe())
            settings, categories = self.inputs.settings, self.inputs.categories
            self.summary.counts |= select_and_seal(
                self.run, settings, categories, self.steps["select"], settings.resources, self.progress
            )
            self._note_acceptance(made_units)
        made = self.summary.counts["candidates"]["made"]
        self.summary.note("select+seal", made, time.perf_counter() - began)


def run_units(
    run: RunDir,
    rows: Sequence[int],
    plan: Plan,
    code: Code,
    opener: Opener,
    recipe: str,
    embedding_dim: int,
    progress: Progress | None = None,
) -> LedgerState:
    """Stream rows of the work list through the actors of `plan`'s stages into unit files, see `write_unit`.

    Returns what the ledger counted. Ray must be running and its data context configured. RunError if the
    run cannot go on.
    """
    from xpaste_ray.pipelines.ray_profile import (
        RemoteLedger,
        actor_stage,
        dataset_of,
        feed,
        listen,
        run_to_end,
        task_stage,
    )
    from xpaste_ray.pipelines.sink import write
    from xpaste_ray.pipelines.watch import Watch

    ledger = RemoteLedger({name: resources.actors for name, resources in plan.items()})
    actors = next(iter(plan.values())).actors
    dataset = feed(dataset_of(row_blocks(rows), one_by_one=True), units, rows_ahead=2 + 2 * actors)
    for number, (name, resources) in enumerate(plan.items()):
        kwargs = {"name": name, "stage": code[name].target, "stage_kwargs": dict(code[name].kwargs),
                  "attempts": ledger, "opener": None if number else opener,
                  "recorder": RayRecorder()}  # fmt: skip
        dataset = actor_stage(dataset, name, StageActor, resources, kwargs)
    told = {"run": run, "recipe": recipe, "embedding_dim": embedding_dim, "attempts": ledger}
    dataset = task_stage(dataset, write, told)
    listen(Watch(progress, plan).tell if progress else None, ledger)
    try:
        run_to_end(dataset)
    except Exception as error:
        raise RunError(_why(ledger, error)) from error
    finally:
        listen(None)
    return ledger.state()


def _why(ledger: "RemoteLedger", error: Exception) -> str:
    """What ended a run: what its actors told, else Ray's own last line."""
    from ray.data.exceptions import ExecutionTimeoutError

    with suppress(Exception):  # the ledger may be lost, too
        if failure := ledger.state().failure:
            return failure
    if isinstance(error, ExecutionTimeoutError):
        return (
            "no unit got any further for half an hour, or for as many seconds as the environment variable "
            "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S says: set it higher if a unit may take so long, else "
            "look at Ray's logs; then run the same command again"
        )
    (line, *_) = reversed(str(error).strip().splitlines() or [repr(error)])
    return f"Ray gave up: {line}"


def kept_of(units: set[str], pool: Pool, scores: pa.Table) -> int:
    """How many of the pool's instances come from these units."""
    places = scores.group_by(["round", "unit"]).aggregate([])
    pairs = zip(places["round"].to_pylist(), places["unit"].to_pylist(), strict=True)
    own_places = places.filter(pa.array([unit_id(*pair) in units for pair in pairs], pa.bool_()))
    # Without lists: Arrow joins none.
    scores = scores.select(["round", "unit", "candidate_id", "method", "ordinal"])
    own = scores.join(own_places, ["round", "unit"], join_type="left semi")
    names = instance_ids(own["candidate_id"], own["method"], own["ordinal"])
    return int(pc.sum(pc.is_in(names, pa.array(pool.instance_ids, pa.string()))).as_py() or 0)
