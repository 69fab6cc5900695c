import pyarrow as pa
import pytest

from tests.conftest import candidates
from xpaste_ray.errors import SchemaError
from xpaste_ray.pipelines.pool import compact_scores, unit_ids
from xpaste_ray.pipelines.sink import write_unit
from xpaste_ray.records import UNITS, Unit, candidate_to_dict, unit_to_row
from xpaste_ray.runs import RunDir


@pytest.mark.parametrize(
    ("written", "whole"),
    [
        pytest.param((0, 1, 2), True, id="each-once"),
        pytest.param((0, 2), False, id="one-lost"),
        pytest.param((0, 1, 1, 2), False, id="one-twice"),
        pytest.param((0, 2, 1), False, id="another-order"),
    ],
)
def test_scores_are_gathered_only_from_units_that_hold_each_candidate_once(tmp_path, written, whole):
    run, asked = RunDir(tmp_path), candidates(3)
    units = pa.Table.from_pylist(
        [unit_to_row(Unit(0, 0, tuple(candidate.prompt for candidate in asked)))], schema=UNITS
    )
    row = {"round": 0, "unit": 0, "candidates": [candidate_to_dict(asked[i]) for i in written]}
    write_unit(run, row, "recipe")
    if whole:
        ids = compact_scores(run, units)["candidate_id"].to_pylist()
        assert ids == [candidate.prompt.candidate_id for candidate in asked]
    else:
        with pytest.raises(SchemaError, match=unit_ids(units)[0]):
            compact_scores(run, units)
