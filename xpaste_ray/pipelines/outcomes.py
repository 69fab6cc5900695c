"""What became of the candidates and proposals of a run: counts that must balance."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.errors import SchemaError
from xpaste_ray.pipelines.scores import read_scores
from xpaste_ray.pool.layout import INDEX
from xpaste_ray.runs import RunDir
from xpaste_ray.storage import Location


def made_in(run: RunDir) -> dict[str, int]:
    """How many candidates and proposals the score table has."""
    told = read_scores(run, ("candidate_id", "method"))
    return {
        "candidate": pc.count_distinct(told["candidate_id"]).as_py(),
        "proposal": told.num_rows - told["method"].null_count,
    }


def kept_in(folder: Location) -> dict[str, int]:
    """How many proposals are instances of a sealed pool, and of how many candidates they are."""
    candidates = kept_candidates(folder)
    return {"candidate": pc.count_distinct(candidates).as_py(), "proposal": len(candidates)}


def kept_candidates(folder: Location) -> pa.ChunkedArray:
    """The candidate of each instance of a sealed pool."""
    with (folder / INDEX).open() as data:
        return pa.ipc.open_file(data).read_all()["candidate_id"]


def count_outcomes(
    rejects: pa.Table, made: Mapping[str, int], kept: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Made, kept and rejected by reason, for candidates and for proposals. A candidate is kept if one of its
    proposals is. SchemaError if they do not balance: something was lost."""
    counts: dict[str, dict[str, Any]] = {}
    for kind, total in made.items():
        found = pc.value_counts(rejects.filter(pc.equal(rejects["kind"], kind))["reason"])
        reasons = {one["values"]: one["counts"] for one in found.to_pylist()}
        rejected = sum(reasons.values())
        if kept[kind] + rejected != total:
            raise SchemaError(f"{kind}s: {kept[kind]} kept + {rejected} rejected is not {total} made")
        counts[f"{kind}s"] = {"made": total, "kept": kept[kind], "rejected": dict(sorted(reasons.items()))}
    return counts


def empty_categories(rejects: pa.Table, manifest: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """The rejected candidates, by reason, of each category that has no instance."""
    empty = {entry["name"]: {} for entry in manifest["categories"] if not entry["instances"]}
    of_empty = pc.is_in(rejects["category"], pa.array(list(empty), pa.string()))
    lost = rejects.filter(pc.and_(pc.equal(rejects["kind"], "candidate"), of_empty))
    counted = lost.group_by(["category", "reason"]).aggregate([([], "count_all")])
    for row in sorted(counted.to_pylist(), key=lambda row: row["reason"]):
        empty[row["category"]][row["reason"]] = row["count_all"]
    return empty
