"""Arrow batches to plain records and back: the seam between Ray Data and the stages."""

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import pyarrow as pa

from xpaste_ray.errors import SchemaError
from xpaste_ray.records import (
    UNIT_IN_FLIGHT,
    UNITS,
    Candidate,
    candidate_from_dict,
    candidate_to_dict,
    check_schema,
    unit_from_row,
)

Stage = Callable[[Sequence[Candidate]], list[Candidate]]


class StageActor:
    """Runs one stage on units, a row at a time, and adds the seconds that it took.

    `stage` is "module:Class". It is imported and built here, in the actor, once: weights never
    travel, and the driver needs neither torch nor its memory.
    """

    def __init__(self, name: str, stage: str, stage_kwargs: dict[str, Any]) -> None:
        self._name = name
        module, _, attribute = stage.partition(":")
        self._stage: Stage = getattr(import_module(module), attribute)(**stage_kwargs)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self._run(row) for row in self._rows(batch)], schema=UNIT_IN_FLIGHT)

    def _rows(self, batch: pa.Table) -> list[dict[str, Any]]:
        check_schema(batch.schema, UNIT_IN_FLIGHT, self._name)
        return [
            {**row, "candidates": [candidate_from_dict(candidate) for candidate in row["candidates"]]}
            for row in batch.to_pylist()
        ]

    def _run(self, row: dict[str, Any]) -> dict[str, Any]:
        began = time.perf_counter()
        candidates = self._stage(row["candidates"])
        seconds = time.perf_counter() - began
        if _ids(candidates) != _ids(row["candidates"]):
            raise SchemaError(f"stage {self._name!r}: it must hand on every candidate once, in order")
        return {
            **row,
            "candidates": [candidate_to_dict(candidate) for candidate in candidates],
            "stage_seconds": [*row["stage_seconds"], (self._name, seconds)],
        }


def _ids(candidates: Sequence[Candidate]) -> list[str]:
    return [candidate.prompt.candidate_id for candidate in candidates]


class SourceActor(StageActor):
    """The first stage: reads rows of the work list."""

    def _rows(self, batch: pa.Table) -> list[dict[str, Any]]:
        check_schema(batch.schema, UNITS, self._name)
        units = [unit_from_row(row) for row in batch.to_pylist()]
        return [
            {
                "round": unit.round,
                "unit": unit.number,
                "candidates": [Candidate(prompt, "diffusion") for prompt in unit.prompts],
                "stage_seconds": [],
            }
            for unit in units
        ]
