"""Units through the stages of any work: what is missing is found, planned, run and counted.

A pool's images, labelled images, captions and contextual backgrounds are such works; each says what its units
are and what they go through, and all share the rest.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from xpaste_ray.config import ResourceSettings, StageResources
from xpaste_ray.errors import RunError
from xpaste_ray.pipelines.adapter import Opener, StageActor
from xpaste_ray.pipelines.figures import StageFigures
from xpaste_ray.pipelines.job import Progress, Summary, start_ray
from xpaste_ray.pipelines.ledger import LedgerState
from xpaste_ray.pipelines.metrics import RayRecorder
from xpaste_ray.pipelines.resources import Node, Plan, describe
from xpaste_ray.pipelines.stage_code import Code
from xpaste_ray.pipelines.units import (
    OpenFiles,
    OpenPrompts,
    UnitName,
    missing_rows,
    names_of,
    row_blocks,
    unit_names,
    units,
    write_work_list,
)
from xpaste_ray.records import Unit
from xpaste_ray.runs import RunDir, made_by

if TYPE_CHECKING:
    from xpaste_ray.pipelines.ray_profile import RemoteLedger


@dataclass(frozen=True, slots=True)
class Pass:
    """Stages that a run's units go through together. source: only its units; None for those of all."""

    stages: tuple[str, ...]
    source: str | None = None


class Work(Protocol):
    """What units are, and what they go through.

    recipe: the fingerprint of the work list. stages: all, in order. passes: those that run together, the
    first of them begin with the first stage. reads: whether a source of it reads or fetches images.
    embedding_dim: see `records.candidates_schema`.
    """

    @property
    def recipe(self) -> str: ...

    @property
    def stages(self) -> tuple[str, ...]: ...

    @property
    def passes(self) -> Sequence[Pass]: ...

    @property
    def resources(self) -> ResourceSettings: ...

    @property
    def reads(self) -> bool: ...

    @property
    def embedding_dim(self) -> int: ...

    def units(self) -> Iterator[Unit]:
        """The work list."""
        ...

    def fingerprint(self, stage: str) -> str:
        """Of the stage's step, with all before it."""
        ...

    def plan(self, one: Pass, nodes: Sequence[Node]) -> Plan:
        """The actors of a pass. ConfigError if the cluster can never hold them."""
        ...

    def code(self, one: Pass, plan: Plan) -> Code: ...

    def threads(self, one: Pass, stage: str) -> int:
        """Of one actor."""
        ...


@dataclass(slots=True)
class UnitWork:
    """A work in a run's folder, from what is there already. `retry_failed`: units with a rejection that may
    have passed are run again."""

    run: RunDir
    work: Work
    progress: Progress
    summary: Summary = field(default_factory=Summary)
    retry_failed: bool = False

    def is_done(self) -> bool:
        return made_by(self.run.units) == self.work.recipe and not self._missing(
            Pass(self.work.stages), unit_names(self.run)
        )

    def make(self) -> set[str]:
        """Make the units that are missing; returns their ids. Counts and times go to the summary."""
        write_work_list(self.run, self.work.units, self.work.recipe)
        units = unit_names(self.run)
        passes = [(one, self._missing(one, units)) for one in self.work.passes]
        if any(missing for _, missing in passes):
            self.run.scores.remove()  # of units that may change: should this end early, they are out of date
            plans = self._tell_plans(passes, units)
            self._check_nodes()
            for one, missing in passes:
                if missing:
                    self._run_pass(one, plans[one], missing)
        last = self.work.stages[-1]
        return {units[row].id for one, rows in passes if last in one.stages for row in rows}

    def show_plan(self) -> None:
        """Tell what `make` would do, and write nothing."""
        units = names_of(self.work.units())
        self._tell_plans([(one, self._missing(one, units)) for one in self.work.passes], units)

    def _missing(self, one: Pass, units: Sequence[UnitName]) -> list[int]:
        """Rows of the work list that have not been through these stages, nor through later ones."""
        stages = self.work.stages
        further = stages[stages.index(one.stages[-1]) :]
        recipes = [self.work.fingerprint(stage) for stage in further]
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
        start_ray(self.work.resources, self.progress, self.work.reads)
        nodes = cluster_nodes()
        plans = {one: self.work.plan(one, nodes) for one, rows in passes if rows or len(passes) == 1}
        numbers = {one: len(rows) for one, rows in passes}
        for one, plan in plans.items():
            self.progress.say(describe(plan, numbers[one], one.source))
        return plans

    def _check_nodes(self) -> None:
        from xpaste_ray.pipelines.nodes import check_shared

        check_shared(self.run.root, "--out")

    def _run_pass(self, one: Pass, plan: Plan, rows: list[int]) -> None:
        work, first = self.work, self.work.stages[0]
        self.progress.begin(dict.fromkeys((*one.stages, "write"), len(rows)), "units")
        opener: Opener = OpenPrompts(self.run) if one.stages[0] == first else OpenFiles(self.run)
        recipe, dim = work.fingerprint(one.stages[-1]), work.embedding_dim
        began = time.perf_counter()
        state = run_units(self.run, rows, plan, work.code(one, plan), opener, recipe, dim, self.progress)
        wall_s = time.perf_counter() - began
        figures = {
            stage: _figures(state, stage, plan[stage], wall_s, work.threads(one, stage))
            for stage in one.stages
        }
        self.summary.figures.note_pass(figures, wall_s)


def _figures(
    state: LedgerState, stage: str, resources: StageResources, wall_s: float, threads: int
) -> StageFigures:
    totals = state.totals[stage]
    return StageFigures(
        totals.images,
        totals.seconds,
        wall_s,
        resources.actors,
        resources.actors * resources.gpus,
        threads,
        totals.load_seconds,
        state.deaths.get(stage, 0),
    )


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
