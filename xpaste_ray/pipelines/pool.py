"""The pool pipeline: units -> source -> segment -> score -> unit files, then select and seal."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.errors import RunError, SchemaError
from xpaste_ray.fingerprints import fingerprint, hash_bytes
from xpaste_ray.pipelines.adapter import Opener, StageActor
from xpaste_ray.pipelines.job import Progress, Summary, start_ray
from xpaste_ray.pipelines.ledger import StageTotals
from xpaste_ray.pipelines.resources import MODEL_STAGES, Plan, describe, plan_resources, stage_costs
from xpaste_ray.pipelines.scores import compact_scores
from xpaste_ray.pipelines.steps import Inputs, Step, units_recipe
from xpaste_ray.pipelines.units import (
    OpenFiles,
    OpenPrompts,
    group_blocks,
    missing_rows,
    unit_ids,
    write_units,
)
from xpaste_ray.pool import SealedShard, ShardMap, ShardSealer, open_pool, seal_pool, seal_serially
from xpaste_ray.pool.layout import MANIFEST
from xpaste_ray.records import REJECTS
from xpaste_ray.runs import RunDir, made_by, open_parquet, read_json, write_json, write_parquet
from xpaste_ray.selection import select

_SHARDS_FOR_RAY = 2  # one is sealed sooner than Ray starts

Order = Literal["streaming", "sequential"]
"""All stages at once, or one after the other for a card that cannot hold all models."""


@dataclass(frozen=True, slots=True)
class StageCode:
    """What a stage runs: "module:Class" and the arguments of its constructor."""

    target: str
    kwargs: Mapping[str, Any]


Code = Mapping[str, StageCode]


def stage_code(inputs: Inputs, plan: Plan) -> Code:
    """The models' own stages."""
    settings = inputs.settings
    source = {"settings": settings.source, "model_name": inputs.source_model, "device": plan["source"].device}
    score = {"settings": settings.score, "device": plan["score"].device}
    return {
        "source": StageCode("xpaste_ray.stages.generate:GenerateStage", source),
        "segment": StageCode("xpaste_ray.stages.segment:SegmentStage", {"settings": settings.segment}),
        "score": StageCode("xpaste_ray.stages.score:ScoreStage", score),
    }


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
        run = self.run
        sealed = run.pools / self.steps["select"].fingerprint
        files = (run.units, run.scores, run.rejects, run.pool_json, run.run_json, sealed / MANIFEST)
        if self.retry_failed or not all(path.exists() for path in files):
            return False
        return "candidates" in read_json(run.run_json).get("counts", {})

    def make(self) -> None:
        """Make what is missing: units, scores, the sealed pool. Counts and times go to the summary."""
        write_units(self.run, self.inputs)
        names = unit_ids(self.run)
        passes = [(one, self._missing(one, names)) for one in self._passes()]
        if any(missing for _, missing in passes):
            self._start(passes, names)
        for stages, missing in passes:
            if missing:
                self._run_pass(stages, missing)
        self._select_and_seal()

    def show_plan(self) -> None:
        """Tell what `make` would do."""
        write_units(self.run, self.inputs)
        names = unit_ids(self.run)
        self._start([(one, self._missing(one, names)) for one in self._passes()], names)

    def _passes(self) -> list[tuple[str, ...]]:
        return [(stage,) for stage in MODEL_STAGES] if self.order == "sequential" else [MODEL_STAGES]

    def _missing(self, stages: tuple[str, ...], names: Sequence[str]) -> list[int]:
        """Rows of the work list that have not been through these stages, nor through later ones."""
        further = MODEL_STAGES[MODEL_STAGES.index(stages[-1]) :]
        recipes = [self.steps[stage].fingerprint for stage in further]
        return missing_rows(self.run, names, recipes, self.retry_failed)

    def _start(self, passes: list[tuple[tuple[str, ...], list[int]]], names: Sequence[str]) -> None:
        """Start or find Ray, and tell the plan. ConfigError if the cluster cannot hold it, or cannot see the
        run."""
        from xpaste_ray.pipelines.nodes import check_shared

        missing = max(len(rows) for _, rows in passes)
        if missing < len(names):
            self.progress.say(f"continuing: {len(names) - missing} of {len(names)} units are done")
        self.progress.say("starting Ray")
        start_ray(self.inputs.settings.resources, self.progress)
        check_shared(self.run.root, "--out")
        self.progress.say(describe(self._plan(), missing, self.order == "sequential"))

    def _plan(self) -> Plan:
        from xpaste_ray.pipelines.ray_profile import cluster_nodes

        settings = self.inputs.settings
        costs = stage_costs(settings)
        return plan_resources(settings.resources, costs, cluster_nodes(), self.order == "sequential")

    def _run_pass(self, stages: tuple[str, ...], rows: list[int]) -> None:
        plan = self._plan()
        code = {**stage_code(self.inputs, plan), **self.code}
        self.progress.begin(dict.fromkeys((*stages, "write"), len(rows)), "units")
        opener: Opener = OpenPrompts(self.run, "diffusion") if stages[0] == "source" else OpenFiles(self.run)
        recipe = self.steps[stages[-1]].fingerprint
        totals = run_units(self.run, rows, {name: plan[name] for name in stages}, code, opener, recipe)
        for stage, total in totals.items():
            self.summary.note(stage, total.images, total.seconds)

    def _select_and_seal(self) -> None:
        recipe = fingerprint({"units": units_recipe(self.inputs), "score": self.steps["score"].fingerprint})
        if self.summary.stage_images or made_by(self.run.scores) != recipe:
            self.progress.say("gathering scores")
            compact_scores(self.run, recipe)
        began = time.perf_counter()
        step = self.steps["select"]
        self.summary.counts |= select_and_seal(self.run, self.inputs, step, self._seal_shards)
        made = self.summary.counts["candidates"]["made"]
        self.summary.note("select+seal", made, time.perf_counter() - began)

    def _seal_shards(self, sealer: ShardSealer, shards: Sequence[pa.Table]) -> Iterable[SealedShard]:
        """Few in this process, many on Ray, with the same bytes."""
        if len(shards) < _SHARDS_FOR_RAY:
            return seal_serially(sealer, shards)
        from xpaste_ray.pipelines.sealing import seal_on_ray

        start_ray(self.inputs.settings.resources, self.progress)
        self.progress.say(f"sealing {len(shards)} shards")
        return seal_on_ray(sealer, shards)


def run_units(
    run: RunDir, rows: Sequence[int], plan: Plan, code: Code, opener: Opener, recipe: str
) -> dict[str, StageTotals]:
    """Stream rows of the work list through the actors of `plan`'s stages into unit files.

    Ray must be running and its data context configured. RunError if the run cannot go on.
    """
    from xpaste_ray.pipelines.ray_profile import RemoteLedger, actor_stage, dataset_of, run_to_end, task_stage
    from xpaste_ray.pipelines.sink import write

    ledger = RemoteLedger({name: resources.actors for name, resources in plan.items()})
    dataset = dataset_of(group_blocks(rows))
    for number, (name, resources) in enumerate(plan.items()):
        kwargs = {"name": name, "stage": code[name].target, "stage_kwargs": dict(code[name].kwargs),
                  "attempts": ledger, "opener": None if number else opener}  # fmt: skip
        dataset = actor_stage(dataset, name, StageActor, resources, kwargs)
    dataset = task_stage(dataset, write, {"run": run, "recipe": recipe, "attempts": ledger})
    try:
        run_to_end(dataset)
    except Exception as error:
        failure = ledger.state().failure
        if failure:
            raise RunError(failure) from error
        raise
    return ledger.state().totals


def select_and_seal(run: RunDir, inputs: Inputs, step: Step, shard_map: ShardMap) -> dict[str, object]:
    """Apply the selection rule, seal the kept proposals and point `pool.json` at the new pool.

    Returns the counts, which balance: made = kept + rejected, for candidates and for proposals.
    """
    rule = inputs.settings.select
    selection = select(open_parquet(run.scores).read(), rule)
    folder = run.pools / step.fingerprint
    unusable = seal_pool(
        selection.kept,
        run.unit_file,
        inputs.categories,
        rule.max_side_px,
        step.fingerprint,
        folder,
        shard_map,
    )
    later = [dict(zip(REJECTS.names, rejection, strict=True)) for rejection in unusable]
    rejects = pa.concat_tables([selection.rejects, pa.Table.from_pylist(later, schema=REJECTS)])
    write_parquet(run.rejects, rejects)
    pointer = {
        "current": folder.relative_to(run.root).as_posix(),
        "manifest_checksum": hash_bytes((folder / MANIFEST).read_bytes()),
    }
    write_json(run.pool_json, pointer)
    made = {"candidate": selection.candidates, "proposal": selection.proposals}
    return _counts(rejects, made, kept=len(open_pool(folder)))


def _counts(rejects: pa.Table, made: dict[str, int], kept: int) -> dict[str, object]:
    """Made, kept and rejected by reason. An instance is one proposal of one candidate, so both keep
    as many. SchemaError if they do not balance: something was lost."""
    counts: dict[str, object] = {}
    for kind, total in made.items():
        found = pc.value_counts(rejects.filter(pc.equal(rejects["kind"], kind))["reason"])
        reasons = {one["values"]: one["counts"] for one in found.to_pylist()}
        rejected = sum(reasons.values())
        if kept + rejected != total:
            raise SchemaError(f"{kind}s: {kept} kept + {rejected} rejected is not {total} made")
        counts[f"{kind}s"] = {"made": total, "kept": kept, "rejected": dict(sorted(reasons.items()))}
    return counts
