"""The candidates file of a unit: images and masks as PNG, whole or absent."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from xpaste_ray.errors import SchemaError
from xpaste_ray.masks import decode_png, encode_png
from xpaste_ray.records import (
    CANDIDATES,
    Candidate,
    candidate_from_dict,
    candidate_to_dict,
    proposal_fields,
    unit_id,
)
from xpaste_ray.runs import RunDir, open_parquet, write_parquet


def write_unit(
    run: RunDir, round_number: int, number: int, candidates: Sequence[Candidate], recipe: str
) -> None:
    """A file's name and bytes follow from its unit: work done twice changes nothing.

    `recipe`: the fingerprint of the last step that the candidates went through.
    """
    head = {"round": round_number, "unit": number}
    table = pa.Table.from_pylist([{**head, **_to_rest(one)} for one in candidates], schema=CANDIDATES)
    write_parquet(run.unit_file(unit_id(round_number, number)), table, recipe)


def read_unit(run: RunDir, name: str) -> list[Candidate]:
    """The candidates of a unit's file. SchemaError if it is no such file."""
    path = run.unit_file(name)
    try:
        rows = open_parquet(path).read().cast(CANDIDATES).to_pylist()
    except (OSError, pa.ArrowInvalid, ValueError) as error:
        raise SchemaError(f"{path} is not readable: {error}") from None
    return [_from_rest(row) for row in rows]


def _to_rest(candidate: Candidate) -> dict[str, Any]:
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


def _from_rest(row: dict[str, Any]) -> Candidate:
    def pixels(png: bytes | None) -> bytes | None:
        return None if png is None else decode_png(png).tobytes()

    proposals = [{**proposal, "mask": pixels(proposal["mask_png"])} for proposal in row["proposals"]]
    return candidate_from_dict({**row, "rgb": pixels(row["image_png"]), "proposals": proposals})
