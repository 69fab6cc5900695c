"""The candidates file of a unit: images and masks as PNG, whole or absent."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from xpaste_ray.errors import SchemaError
from xpaste_ray.masks import decode_png, encode_png
from xpaste_ray.records import (
    Candidate,
    Proposal,
    candidate_from_dict,
    candidate_to_dict,
    candidates_schema,
    embedding_dim_of,
    proposal_fields,
    unit_id,
)
from xpaste_ray.runs import RunDir, open_parquet, write_parquet


def write_unit(
    run: RunDir,
    round_number: int,
    number: int,
    candidates: Sequence[Candidate],
    recipe: str,
    embedding_dim: int,
) -> None:
    """A file's name and bytes follow from its unit: work done twice changes nothing.

    `recipe`: the fingerprint of the last step that the candidates went through. `embedding_dim`: see
    `candidates_schema`.
    """
    head = {"round": round_number, "unit": number}
    rows = [{**head, **_to_rest(one, embedding_dim)} for one in candidates]
    table = pa.Table.from_pylist(rows, schema=candidates_schema(embedding_dim))
    write_parquet(run.unit_file(unit_id(round_number, number)), table, recipe, dictionaries=False)


def read_unit(run: RunDir, name: str) -> list[Candidate]:
    """The candidates of a unit's file. SchemaError if it is no such file."""
    path = run.unit_file(name)
    try:
        table = open_parquet(path).read()
        rows = table.cast(candidates_schema(embedding_dim_of(table.schema))).to_pylist()
    except (SchemaError, OSError, pa.ArrowInvalid, ValueError) as error:
        raise SchemaError(f"{path} is not readable: {error}") from None
    return [_from_rest(row) for row in rows]


def _to_rest(candidate: Candidate, embedding_dim: int) -> dict[str, Any]:
    def at_rest(proposal: Proposal) -> dict[str, Any]:
        fields = proposal_fields(proposal)
        if fields["embedding"] is None:
            fields["embedding"] = np.zeros(embedding_dim, np.float16)
        return {**fields, "mask_png": _png(proposal.mask)}

    fields = candidate_to_dict(candidate)
    del fields["rgb"]
    return {
        **fields,
        "image_png": _png(candidate.image),
        "proposals": [at_rest(proposal) for proposal in candidate.proposals],
    }


def _png(pixels: np.ndarray | None) -> bytes | None:
    return None if pixels is None else encode_png(pixels, compressed=False)  # Parquet compresses it


def _from_rest(row: dict[str, Any]) -> Candidate:
    def pixels(png: bytes | None) -> bytes | None:
        return None if png is None else decode_png(png).tobytes()

    def in_flight(proposal: dict[str, Any]) -> dict[str, Any]:
        embedding = proposal["embedding"] if any(proposal["embedding"]) else None
        return {**proposal, "mask": pixels(proposal["mask_png"]), "embedding": embedding}

    proposals = [in_flight(proposal) for proposal in row["proposals"]]
    return candidate_from_dict({**row, "rgb": pixels(row["image_png"]), "proposals": proposals})
