"""The seam between Arrow and the stages, and the sink, without a cluster."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import candidates
from xpaste_ray.errors import SchemaError
from xpaste_ray.pipelines.adapter import SourceActor, StageActor
from xpaste_ray.pipelines.sink import write_unit
from xpaste_ray.records import CANDIDATES, UNITS, Unit, unit_to_row
from xpaste_ray.runs import RunDir, made_by


class HandOn:
    """A stage that changes nothing, or loses the last candidate."""

    def __init__(self, lose=False):
        self.lose = lose

    def __call__(self, given):
        return list(given[:-1] if self.lose else given)


def _actor(kind=SourceActor, **kwargs):
    return kind("hand-on", f"{__name__}:HandOn", kwargs)


def _units():
    unit = Unit(1, 2, tuple(candidate.prompt for candidate in candidates(3)))
    return pa.Table.from_pylist([unit_to_row(unit)], schema=UNITS)


def test_unit_passes_the_stages_and_becomes_one_file(tmp_path):
    row = _actor(StageActor)(_actor()(_units())).to_pylist()[0]
    assert [name for name, seconds in row["stage_seconds"] if seconds >= 0] == ["hand-on", "hand-on"]
    run = RunDir(tmp_path)
    write_unit(run, row, "recipe")
    path = tmp_path / "candidates" / "00001" / "unit-00002.parquet"
    table = pq.ParquetFile(path).read()
    assert table.schema.equals(CANDIDATES) and made_by(path) == "recipe"
    assert table["candidate_id"].to_pylist() == [c.prompt.candidate_id for c in candidates(3)]


def test_stage_that_loses_a_candidate_is_a_defect():
    with pytest.raises(SchemaError, match="'hand-on': it must hand on every candidate once"):
        _actor(lose=True)(_units())


def test_wrong_columns_name_the_stage():
    with pytest.raises(SchemaError, match="stage 'hand-on': column 'candidates' is missing"):
        _actor(StageActor)(_units())
