"""The sink of the pool pipeline: one Parquet file a unit, whole or absent."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from ray.data import Datasink
from ray.data.block import Block, BlockAccessor

from xpaste_ray.masks import encode_png
from xpaste_ray.records import (
    CANDIDATES,
    UNIT_IN_FLIGHT,
    Candidate,
    candidate_from_dict,
    candidate_to_dict,
    check_schema,
    proposal_fields,
    unit_id,
)
from xpaste_ray.runs import RunDir, write_parquet


class UnitFileSink(Datasink):
    """Flattens each unit inside its own write, so a unit cannot be torn apart.

    A file's name and bytes follow from its unit: work done twice changes nothing.
    `stage_seconds` holds the stages' busy seconds after the run.
    """

    def __init__(self, run: RunDir, recipe: str) -> None:
        self._run, self._recipe = run, recipe
        self.stage_seconds: Counter[str] = Counter()

    def get_name(self) -> str:
        return "UnitFiles"

    def write(self, blocks: Iterable[Block], ctx: Any) -> Counter[str]:
        seconds: Counter[str] = Counter()
        for block in blocks:
            table = BlockAccessor.for_block(block).to_arrow()
            check_schema(table.schema, UNIT_IN_FLIGHT, "write")
            for row in table.to_pylist():
                write_unit(self._run, row, self._recipe)
                seconds.update(dict(row["stage_seconds"]))
        return seconds

    def on_write_complete(self, write_result: Any) -> None:
        for seconds in write_result.write_returns:
            self.stage_seconds.update(seconds)


def write_unit(run: RunDir, row: dict[str, Any], recipe: str) -> None:
    """Write a row of `UNIT_IN_FLIGHT` as its candidates file. `recipe`: fingerprint of the score step."""
    head = {"round": row["round"], "unit": row["unit"]}
    rows = [{**head, **_at_rest(candidate_from_dict(candidate))} for candidate in row["candidates"]]
    table = pa.Table.from_pylist(rows, schema=CANDIDATES)
    write_parquet(run.unit_file(unit_id(row["round"], row["unit"])), table, recipe)


def _at_rest(candidate: Candidate) -> dict[str, Any]:
    fields = candidate_to_dict(candidate)
    del fields["rgb"]
    return {
        **fields,
        "image_png": None if candidate.image is None else encode_png(candidate.image),
        "proposals": [
            {
                **proposal_fields(proposal),
                "mask_png": None if proposal.mask is None else encode_png(proposal.mask),
            }
            for proposal in candidate.proposals
        ],
    }
