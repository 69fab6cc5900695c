"""The sink of the pool pipeline: one Parquet file a unit."""

from collections.abc import Iterable
from typing import Any

from ray.data import Datasink
from ray.data.block import Block, BlockAccessor

from xpaste_ray.errors import XPasteError
from xpaste_ray.pipelines.adapter import Attempts
from xpaste_ray.records import UNIT_IN_FLIGHT, candidate_from_dict, check_schema
from xpaste_ray.runs import RunDir
from xpaste_ray.unit_files import write_unit


class UnitFileSink(Datasink):
    """Flattens each unit inside its own write, so a unit cannot be torn apart."""

    def __init__(self, run: RunDir, recipe: str, attempts: Attempts) -> None:
        self._run, self._recipe, self._attempts = run, recipe, attempts

    def get_name(self) -> str:
        return "UnitFiles"

    def write(self, blocks: Iterable[Block], ctx: Any) -> None:
        try:
            for block in blocks:
                table = BlockAccessor.for_block(block).to_arrow()
                check_schema(table.schema, UNIT_IN_FLIGHT, "write")
                for row in table.to_pylist():
                    candidates = [candidate_from_dict(candidate) for candidate in row["candidates"]]
                    write_unit(self._run, row["round"], row["unit"], candidates, self._recipe)
        except XPasteError as error:
            self._attempts.fail(str(error))
            raise
        except Exception as error:
            self._attempts.fail(f"write: {type(error).__name__}: {error}")
            raise
