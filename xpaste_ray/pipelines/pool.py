"""The pool pipeline: units -> source -> segment -> score -> unit files, then select and seal."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from xpaste_ray.errors import SchemaError
from xpaste_ray.fingerprints import hash_file
from xpaste_ray.pipelines.steps import Inputs, Step, source_recipe
from xpaste_ray.pool import open_pool, seal_pool
from xpaste_ray.pool.layout import MANIFEST
from xpaste_ray.prompts import plan_units
from xpaste_ray.records import CANDIDATES, REJECTS, SCORES, UNITS, check_schema, unit_id, unit_to_row
from xpaste_ray.runs import RunDir, made_by, write_json, write_parquet
from xpaste_ray.selection import select

MODEL_STAGES = ("generate", "segment", "score")
STAGES = (*MODEL_STAGES, "write")  # as in Ray's names of operators, in lower case

_UNITS_PER_BLOCK = 1  # a block is what one actor call gets: larger ones leave actors idle at the end


def write_units(run: RunDir, inputs: Inputs) -> pa.Table:
    """The work list, a row a unit, as `units.parquet`."""
    settings = inputs.settings
    units = plan_units(
        inputs.categories,
        settings.prompts.template,
        settings.prompts.per_category,
        settings.source.unit_size,
        settings.seed,
        source_recipe(inputs),
    )
    table = pa.Table.from_pylist([unit_to_row(unit) for unit in units], schema=UNITS)
    write_parquet(run.units, table)
    return table


def unit_ids(units: pa.Table) -> list[str]:
    return [unit_id(r, n) for r, n in zip(units["round"].to_pylist(), units["unit"].to_pylist(), strict=True)]


def missing_units(run: RunDir, units: pa.Table, recipe: str) -> pa.Table:
    """The rows of the work list that have no file of this recipe yet. Present and whole means done."""
    missing = [made_by(run.unit_file(name)) != recipe for name in unit_ids(units)]
    return units.filter(pa.array(missing, pa.bool_()))


def run_units(run: RunDir, units: pa.Table, inputs: Inputs, recipe: str) -> Counter[str]:
    """Stream units through the actor pools into unit files; returns busy seconds by stage.

    Ray must be running and its data context configured.
    """
    import ray.data

    from xpaste_ray.pipelines.adapter import SourceActor, StageActor
    from xpaste_ray.pipelines.ray_profile import WRITE_TASK_ARGS, actor_stage
    from xpaste_ray.pipelines.sink import UnitFileSink

    settings, resources = inputs.settings, inputs.settings.resources
    blocks = [units.slice(i, _UNITS_PER_BLOCK) for i in range(0, units.num_rows, _UNITS_PER_BLOCK)]
    dataset = ray.data.from_arrow(blocks)
    stages = (
        ("generate", "xpaste_ray.stages.generate:GenerateStage", resources.source_actors,
         {"settings": settings.source, "model_name": inputs.source_model}),
        ("segment", "xpaste_ray.stages.segment:SegmentStage", resources.segment_actors,
         {"settings": settings.segment}),
        ("score", "xpaste_ray.stages.score:ScoreStage", resources.score_actors,
         {"settings": settings.score}),
    )  # fmt: skip
    for name, stage, actors, stage_kwargs in stages:
        actor = SourceActor if name == "generate" else StageActor
        kwargs = {"name": name, "stage": stage, "stage_kwargs": stage_kwargs}
        dataset = actor_stage(dataset, name, actor, actors, kwargs)
    sink = UnitFileSink(run, recipe)
    dataset.write_datasink(sink, ray_remote_args=WRITE_TASK_ARGS)
    return sink.stage_seconds


def compact_scores(run: RunDir, units: pa.Table) -> pa.Table:
    """Gather the score columns of all unit files as one table, and write it to `scores/`.

    Every prompt of the work list must be there once: SchemaError names the first unit where it is not.
    """
    parts = []
    for name, prompts in zip(unit_ids(units), units["prompts"].to_pylist(), strict=True):
        file = pq.ParquetFile(run.unit_file(name))
        found = file.read(columns=["candidate_id"])["candidate_id"].to_pylist()
        if found != [prompt["candidate_id"] for prompt in prompts]:
            raise SchemaError(f"{run.unit_file(name)} does not hold the candidates of its unit once each")
        parts.append(pa.Table.from_pylist(list(_score_rows(file, name)), schema=SCORES))
    scores = pa.concat_tables(parts)
    write_parquet(run.scores, scores)
    return scores


_HEAD = ("round", "unit", "candidate_id", "category_id", "category", "index", "transient")
_PROPOSAL = ("method", "ordinal", "status", "reason", "area_fraction")


def _score_rows(file: pq.ParquetFile, name: str) -> Iterator[dict[str, object]]:
    """Rows of `SCORES` from one unit file, read without its images."""
    check_schema(file.schema_arrow, CANDIDATES, f"scores from {name}")
    nested = [f"proposals.list.element.{key}" for key in (*_PROPOSAL, "scores")]
    for row in file.read(columns=[*_HEAD, "status", "reason", *nested]).to_pylist():
        head = {key: row[key] for key in _HEAD}
        head |= {"candidate_status": row["status"], "candidate_reason": row["reason"]}
        for proposal in row["proposals"] or [{}]:
            yield {
                **head,
                **{key: proposal.get(key) for key in _PROPOSAL},
                "clip_logit": dict(proposal.get("scores") or ()).get("clip_logit"),
            }


def select_and_seal(run: RunDir, scores: pa.Table, inputs: Inputs, step: Step) -> dict[str, object]:
    """Apply the selection rule, seal the kept proposals and point `pool.json` at the new pool.

    Returns the counts, which balance: made = kept + rejected, for candidates and for proposals.
    """
    rule = inputs.settings.select
    selection = select(scores, rule)
    folder = run.pools / step.fingerprint
    unusable = seal_pool(
        selection.kept, run.unit_file, inputs.categories, rule.max_side_px, step.fingerprint, folder
    )
    rejects = selection.rejects.to_pylist() + [
        dict(zip(REJECTS.names, rejection, strict=True)) for rejection in unusable
    ]
    write_parquet(run.rejects, pa.Table.from_pylist(rejects, schema=REJECTS))
    pointer = {
        "current": folder.relative_to(run.root).as_posix(),
        "manifest_checksum": hash_file(folder / MANIFEST),
    }
    write_json(run.pool_json, pointer)
    made = {"candidate": selection.candidates, "proposal": selection.proposals}
    return _counts(rejects, made, kept=len(open_pool(folder)))


def _counts(rejects: Sequence[dict[str, str]], made: dict[str, int], kept: int) -> dict[str, object]:
    """Made, kept and rejected by reason. An instance is one proposal of one candidate, so both keep
    as many. SchemaError if they do not balance: something was lost."""
    counts: dict[str, object] = {}
    for kind, total in made.items():
        reasons = Counter(row["reason"] for row in rejects if row["kind"] == kind)
        if kept + reasons.total() != total:
            raise SchemaError(f"{kind}s: {kept} kept + {reasons.total()} rejected is not {total} made")
        counts[f"{kind}s"] = {"made": total, "kept": kept, "rejected": dict(sorted(reasons.items()))}
    return counts
