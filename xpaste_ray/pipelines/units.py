"""The work list of a run, and how actors read it.

Ray gets row numbers of `units.parquet` only, a thousand a block, and takes one at a time from them when the
first stage has room for it, so that the driver's memory does not grow with the work.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xpaste_ray.pipelines.steps import Inputs, units_recipe
from xpaste_ray.records import UNITS, Candidate, Unit, unit_from_row, unit_id, unit_to_row
from xpaste_ray.runs import RunDir, made_by, open_parquet, whole_parquet
from xpaste_ray.sources.work_list import plan_units
from xpaste_ray.storage import Location
from xpaste_ray.unit_files import read_unit

_UNITS_PER_ROW_GROUP = 64
_ROWS_PER_BLOCK = 1024  # the driver keeps a few kB of each block
_READERS = 16  # threads: reading the end of a file is mostly waiting

_ROWS = pa.schema([pa.field("row", pa.int64(), nullable=False)])


@dataclass(frozen=True, slots=True)
class UnitName:
    """A row of the work list, without its prompts. id: as in the unit's file name."""

    id: str
    source: str


def write_units(run: RunDir, inputs: Inputs) -> None:
    """The work list of a pool, see `write_work_list`."""
    write_work_list(run, lambda: planned(inputs), units_recipe(inputs))


def write_work_list(run: RunDir, planned: Callable[[], Iterator[Unit]], recipe: str) -> None:
    """The work list, a row a unit, as `units.parquet`, unless it is there."""
    if made_by(run.units) == recipe:
        return
    units = planned()
    with whole_parquet(run.units, UNITS, recipe) as writer:
        while rows := [unit_to_row(unit) for unit in islice(units, _UNITS_PER_ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=UNITS))


def planned(inputs: Inputs) -> Iterator[Unit]:
    """The work list of a pool."""
    settings = inputs.settings
    return plan_units(inputs.categories, inputs.sources, settings.sources, settings.prompts.per_category)


def names_of(units: Iterable[Unit]) -> list[UnitName]:
    """As `unit_names` gives them."""
    return [UnitName(unit.id, unit.source) for unit in units]


def unit_names(run: RunDir) -> list[UnitName]:
    """Of all units, in the order of the work list."""
    table = open_parquet(run.units).read(columns=["round", "unit", "source"])
    columns = (table[name].to_pylist() for name in ("round", "unit", "source"))
    return [UnitName(unit_id(r, n), sys.intern(source)) for r, n, source in zip(*columns, strict=True)]


def missing_rows(
    run: RunDir, units: Sequence[UnitName], recipes: Collection[str], retry_failed: bool = False
) -> list[int]:
    """The rows of the work list that have no file made by one of `recipes`. Present and whole means done.

    `retry_failed`: unless it holds a candidate whose rejection was transient.
    """
    there = run.unit_sizes()
    found = [row for row, unit in enumerate(units) if unit.id in there]

    def is_done(row: int) -> bool:
        path = run.unit_file(units[row].id)
        return made_by(path) in recipes and not (retry_failed and _failed(path))

    with ThreadPoolExecutor(_READERS) as pool:
        done = {row for row, whole in zip(found, pool.map(is_done, found), strict=True) if whole}
    return [row for row in range(len(units)) if row not in done]


def _failed(path: Location) -> bool:
    """Whether a unit's file has a candidate that another try may save."""
    return bool(pc.any(open_parquet(path).read(columns=["transient"])["transient"]).as_py())


def row_blocks(rows: Sequence[int]) -> list[pa.Table]:
    """Rows of the work list, for `units`."""
    size = _ROWS_PER_BLOCK
    return [pa.table({"row": rows[i : i + size]}, schema=_ROWS) for i in range(0, len(rows), size)]


def units(batch: pa.Table) -> Iterator[pa.Table]:
    """One by one."""
    for row in batch["row"].to_pylist():
        yield pa.table({"row": [row]}, schema=_ROWS)


class _WorkList:
    """Rows of `units.parquet`, for an actor that asks for one after the other."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._file: pq.ParquetFile | None = None  # opened in the actor
        self._number, self._group = -1, pa.table({})

    def of(self, batch: pa.Table) -> Iterator[dict[str, Any]]:
        self._file = self._file or open_parquet(self._run.units)
        for row in batch["row"].to_pylist():
            number, place = divmod(row, _UNITS_PER_ROW_GROUP)
            if number != self._number:
                self._number, self._group = number, self._file.read_row_group(number)
            yield from self._group.slice(place, 1).to_pylist()


class OpenPrompts:
    """Units as the source gets them: prompts of the work list, without images."""

    def __init__(self, run: RunDir) -> None:
        self._list = _WorkList(run)

    def __call__(self, batch: pa.Table) -> Iterator[dict[str, Any]]:
        for unit in map(unit_from_row, self._list.of(batch)):
            candidates = [Candidate(prompt) for prompt in unit.prompts]
            yield {"round": unit.round, "unit": unit.number, "candidates": candidates}


class OpenFiles:
    """Units as an earlier stage left them in their files."""

    def __init__(self, run: RunDir) -> None:
        self._run, self._list = run, _WorkList(run)

    def __call__(self, batch: pa.Table) -> Iterator[dict[str, Any]]:
        for told in self._list.of(batch):
            candidates = read_unit(self._run, unit_id(told["round"], told["unit"]))
            yield {"round": told["round"], "unit": told["unit"], "candidates": candidates}
