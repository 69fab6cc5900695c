"""Score columns of all unit files, gathered as one table."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.errors import SchemaError
from xpaste_ray.records import CANDIDATES, SCORES, check_schema, unit_id
from xpaste_ray.runs import RunDir, open_parquet, whole_parquet

_HEAD = ("round", "unit", "candidate_id", "category_id", "category", "index", "transient")
_PROPOSAL = ("method", "ordinal", "status", "reason", "area_fraction")
_COLUMNS = (
    *_HEAD, "status", "reason", *(f"proposals.list.element.{name}" for name in (*_PROPOSAL, "scores"))
)  # fmt: skip
_READERS = 8  # threads: a small part of each file is read
_UNITS_AT_ONCE = 256


def compact_scores(run: RunDir, recipe: str) -> None:
    """Write `scores/`: a row a proposal, for all units of the work list, in its order.

    Every prompt must be there once: SchemaError names the first unit where it is not.
    """
    units = open_parquet(run.units)
    with whole_parquet(run.scores, SCORES, recipe) as writer, ThreadPoolExecutor(_READERS) as pool:
        for batch in units.iter_batches(_UNITS_AT_ONCE):
            parts = list(pool.map(lambda row: _read(run, row), batch.to_pylist()))
            writer.write_table(_by_proposal(pa.concat_tables(parts)))


def _read(run: RunDir, unit: dict[str, Any]) -> pa.Table:
    """The columns of one unit's file, without its images."""
    name = unit_id(unit["round"], unit["unit"])
    file = open_parquet(run.unit_file(name))
    check_schema(file.schema_arrow, CANDIDATES, f"scores from {name}")
    table = file.read(columns=list(_COLUMNS))
    if table["candidate_id"].to_pylist() != [prompt["candidate_id"] for prompt in unit["prompts"]]:
        raise SchemaError(f"{run.unit_file(name)} does not hold the candidates of its unit once each")
    return table


def _by_proposal(candidates: pa.Table) -> pa.Table:
    """Rows of `SCORES`; a candidate without proposals has one row, with nulls."""
    proposals = candidates["proposals"].combine_chunks()
    counts = proposals.value_lengths().to_numpy(zero_copy_only=False)
    parents = np.repeat(np.arange(len(counts)), np.maximum(counts, 1))
    has_one = counts[parents] > 0
    children = pa.array(np.cumsum(has_one) - 1, mask=~has_one)
    flat = proposals.flatten()
    columns = {name: candidates[name].take(parents) for name in _HEAD}
    columns |= {f"candidate_{name}": candidates[name].take(parents) for name in ("status", "reason")}
    columns |= {name: flat.field(name).take(children) for name in _PROPOSAL}
    logits = pc.map_lookup(flat.field("scores"), pa.scalar("clip_logit"), "first")
    return pa.table({**columns, "clip_logit": logits.take(children)}).select(SCORES.names).cast(SCORES)
