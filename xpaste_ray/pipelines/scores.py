"""Score columns of all unit files, gathered as one table."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.errors import SchemaError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.records import (
    SCORE_NAMES,
    SCORES,
    candidates_schema,
    check_schema,
    embedding_dim_of,
    unit_id,
)
from xpaste_ray.runs import RunDir, open_parquet, whole_parquet

_HEAD = ("round", "unit", "candidate_id", "category_id", "category", "index", "source", "transient")
_PROPOSAL = ("method", "ordinal", "status", "reason", "area_fraction", "overlaps")
_COLUMNS = (
    *_HEAD, "status", "reason", *(f"proposals.list.element.{name}" for name in (*_PROPOSAL, "scores"))
)  # fmt: skip
_READERS = 8  # threads: a small part of each file is read
_UNITS_AT_ONCE = 256


def scores_recipe(units: str, score: str) -> str:
    """The fingerprint of the score table, from those of the work list and of the last stage."""
    return fingerprint({"units": units, "score": score})


def compact_scores(run: RunDir, recipe: str) -> None:
    """Write `scores/`: a row a proposal, for all units of the work list, in its order.

    Every prompt must be there once: SchemaError names the first unit where it is not.
    """
    with whole_parquet(run.scores, SCORES, recipe) as writer:
        for table in score_tables(run):
            writer.write_table(table)


def score_tables(run: RunDir) -> Iterator[pa.Table]:
    """Those rows, some units at a time."""
    units = open_parquet(run.units)
    with ThreadPoolExecutor(_READERS) as pool:
        for batch in units.iter_batches(_UNITS_AT_ONCE):
            yield _by_proposal(pa.concat_tables(pool.map(partial(_read, run), batch.to_pylist())))


def _read(run: RunDir, unit: dict[str, Any]) -> pa.Table:
    """The columns of one unit's file, without its images."""
    name = unit_id(unit["round"], unit["unit"])
    file = open_parquet(run.unit_file(name))
    schema = file.schema_arrow
    check_schema(schema, candidates_schema(embedding_dim_of(schema)), f"scores from {name}")
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
    for name in SCORE_NAMES:
        columns[name] = pc.map_lookup(flat.field("scores"), pa.scalar(name), "first").take(children)
    return pa.table(columns).select(SCORES.names).cast(SCORES)
