import pyarrow.parquet as pq
import pytest

from tests.conftest import candidates
from tests.standins import Score, Segment, Source
from xpaste_ray.errors import SchemaError
from xpaste_ray.records import CANDIDATES, candidate_to_dict
from xpaste_ray.runs import RunDir, made_by
from xpaste_ray.unit_files import read_unit, write_unit


def test_unit_becomes_one_file_and_comes_back_as_it_was(tmp_path):
    run = RunDir(tmp_path)
    made = Score()(Segment()(Source()(candidates(3))))
    write_unit(run, 1, 2, made, "recipe")
    path = tmp_path / "candidates" / "00001" / "unit-00002.parquet"
    assert pq.ParquetFile(path).schema_arrow.equals(CANDIDATES) and made_by(path) == "recipe"
    again = read_unit(run, "00001/unit-00002")
    assert [candidate_to_dict(one)["rgb"] for one in again] == [candidate_to_dict(one)["rgb"] for one in made]
    write_unit(RunDir(tmp_path / "again"), 1, 2, again, "recipe")
    assert (tmp_path / "again/candidates/00001/unit-00002.parquet").read_bytes() == path.read_bytes()


def test_file_that_is_cut_off_is_told(tmp_path):
    run = RunDir(tmp_path)
    write_unit(run, 0, 0, candidates(1), "recipe")
    path = run.unit_file("00000/unit-00000").path
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SchemaError, match="unit-00000.parquet is not readable"):
        read_unit(run, "00000/unit-00000")
