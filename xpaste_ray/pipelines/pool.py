"""The pool pipeline: units -> source -> segment -> score -> unit files, then select and seal."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.config import DiffusionSource, ResourceSettings
from xpaste_ray.pipelines.figures import acceptance
from xpaste_ray.pipelines.job import Progress, Summary
from xpaste_ray.pipelines.pools import explained, is_current, pool_folder, select_and_seal
from xpaste_ray.pipelines.resources import MODEL_STAGES, Node, Plan, plan_pass, threads_of
from xpaste_ray.pipelines.scores import compact_scores, scores_recipe
from xpaste_ray.pipelines.stage_code import Code, stage_code
from xpaste_ray.pipelines.steps import Inputs, Step, units_recipe
from xpaste_ray.pipelines.unit_work import Pass, UnitWork
from xpaste_ray.pipelines.units import planned
from xpaste_ray.pool import Pool, open_pool
from xpaste_ray.records import Unit, instance_ids, unit_id
from xpaste_ray.runs import RunDir, made_by, open_parquet, read_json

Order = Literal["streaming", "sequential"]
"""All stages at once, or one after the other for a card that cannot hold all models."""


@dataclass(frozen=True, slots=True)
class PromptWork:
    """Prompts through the models, see `unit_work.Work`. code: other stages than the models' own, by name."""

    run: RunDir
    inputs: Inputs
    steps: dict[str, Step]
    order: Order
    own_code: Code

    stages = MODEL_STAGES

    @property
    def recipe(self) -> str:
        return units_recipe(self.inputs)

    @property
    def passes(self) -> list[Pass]:
        """Source after source: each has actors of its own, and they need not fit in beside each other."""
        names = list(self.inputs.sources)
        if self.order == "streaming":
            return [Pass(MODEL_STAGES, name) for name in names]
        made = [Pass(("source",), name) for name in names]
        return [*made, *(Pass((stage,)) for stage in MODEL_STAGES[1:])]

    @property
    def resources(self) -> ResourceSettings:
        return self.inputs.settings.resources

    @property
    def reads(self) -> bool:
        sources = self.inputs.settings.sources.values()
        return any(not isinstance(source, DiffusionSource) for source in sources)

    @property
    def embedding_dim(self) -> int:
        return self.inputs.embedding_dim

    def units(self) -> Iterator[Unit]:
        return planned(self.inputs)

    def fingerprint(self, stage: str) -> str:
        return self.steps[stage].fingerprint

    def plan(self, one: Pass, nodes: Sequence[Node]) -> Plan:
        return plan_pass(self.inputs.settings, one.stages, one.source, nodes)

    def code(self, one: Pass, plan: Plan) -> Code:
        return {**stage_code(self.inputs, plan, one.source, self.run), **self.own_code}

    def threads(self, one: Pass, stage: str) -> int:
        return threads_of(self.inputs.settings, stage, one.source)


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
            and made_by(run.scores) == self._scores_recipe()
            and made_by(run.rejects) == selected
            and is_current(run, pool_folder(run, selected))
            and self._unit_work().is_done()
        )

    def make(self) -> None:
        """Make what is missing: units, scores, the sealed pool. Counts and times go to the summary."""
        self._select_and_seal(self._unit_work().make())

    def show_plan(self) -> None:
        """Tell what `make` would do, and write nothing."""
        self._unit_work().show_plan()

    def _unit_work(self) -> UnitWork:
        work = PromptWork(self.run, self.inputs, self.steps, self.order, self.code)
        return UnitWork(self.run, work, self.progress, self.summary, self.retry_failed)

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
