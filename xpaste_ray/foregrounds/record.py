"""What F-EM did, kept beside the pool that came of it.

refinement.json    by category: images, segments, and what each iteration changed
choices.parquet    by candidate: the segment of step 1, and after each iteration
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from xpaste_ray.foregrounds.choose import CategoryLog, Chosen
from xpaste_ray.runs import open_parquet, read_json, write_json, write_parquet
from xpaste_ray.storage import Location

REFINEMENT = "refinement.json"
CHOICES = "choices.parquet"


def write_refinement(folder: Location, chosen: Chosen, methods: pa.Table, recipe: str) -> None:
    """methods: the columns method and ordinal of the score table that was chosen from."""
    write_parquet(folder / CHOICES, choices_table(chosen, methods), recipe)
    write_json(folder / REFINEMENT, {"categories": [_told(log) for log in chosen.logs]})


def choices_table(chosen: Chosen, methods: pa.Table) -> pa.Table:
    """A row a candidate: candidate_id, and segments, a list of (method, ordinal), null for none: of step 1,
    then after each iteration."""
    steps = []
    for rows in chosen.choices:
        taken = methods.take(pa.array(rows, mask=rows < 0))
        columns = [taken[name].combine_chunks() for name in ("method", "ordinal")]
        steps.append(
            pa.StructArray.from_arrays(columns, names=["method", "ordinal"], mask=pa.array(rows < 0))
        )
    told = zip(*(step.to_pylist() for step in steps), strict=True)
    kind = pa.list_(pa.struct([("method", pa.string()), ("ordinal", pa.int32())]))
    return pa.table({"candidate_id": chosen.candidate_ids, "segments": pa.array(list(told), kind)})


def read_choices(folder: Location) -> dict[str, list[tuple[str, int] | None]]:
    """Method and ordinal of each candidate's segment: of step 1, then after each iteration."""
    rows = open_parquet(folder / CHOICES).read().to_pylist()
    return {
        row["candidate_id"]: [one and (one["method"], one["ordinal"]) for one in row["segments"]]
        for row in rows
    }


def read_refinement(folder: Location) -> Sequence[dict[str, Any]]:
    """By category, in the order of their ids: category, images, segments, fallback, iterations."""
    told: Sequence[dict[str, Any]] = read_json(folder / REFINEMENT)["categories"]
    return told


def _told(log: CategoryLog) -> dict[str, Any]:
    return asdict(log) | {"iterations": [asdict(one) for one in log.iterations]}
