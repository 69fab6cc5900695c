from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import candidates
from tests.standins import Score, Segment, Source
from xpaste_ray.errors import SchemaError
from xpaste_ray.records import candidate_to_dict, candidates_schema, embedding_dim_of
from xpaste_ray.runs import RunDir, made_by
from xpaste_ray.unit_files import read_unit, write_unit


def test_unit_becomes_one_file_and_comes_back_as_it_was(tmp_path):
    run = RunDir(tmp_path)
    made = Score()(Segment()(Source()(candidates(3))))
    write_unit(run, 1, 2, made, "recipe", 4)
    path = tmp_path / "candidates" / "00001" / "unit-00002.parquet"
    assert pq.ParquetFile(path).schema_arrow.equals(candidates_schema(4)) and made_by(path) == "recipe"
    again = read_unit(run, "00001/unit-00002")
    assert [candidate_to_dict(one)["rgb"] for one in again] == [candidate_to_dict(one)["rgb"] for one in made]
    write_unit(RunDir(tmp_path / "again"), 1, 2, again, "recipe", 4)
    assert (tmp_path / "again/candidates/00001/unit-00002.parquet").read_bytes() == path.read_bytes()


def test_file_that_is_cut_off_is_told(tmp_path):
    run = RunDir(tmp_path)
    write_unit(run, 0, 0, candidates(1), "recipe", 4)
    path = run.unit_file("00000/unit-00000").path
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SchemaError, match="unit-00000.parquet is not readable"):
        read_unit(run, "00000/unit-00000")


def test_file_of_something_else_is_told(tmp_path):
    path = RunDir(tmp_path).unit_file("00000/unit-00000").path
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(
        SchemaError, match=r"unit-00000.parquet is not readable: proposals have no embeddings"
    ):
        read_unit(RunDir(tmp_path), "00000/unit-00000")


def _with_embeddings(one, *embeddings):
    (proposal,) = one.proposals
    return replace(one, proposals=tuple(replace(proposal, embedding=each) for each in embeddings))


UNIT = np.array([0.6, -0.8, 0, 0], np.float16)


def test_embeddings_come_back_and_none_stays_none(tmp_path):
    """Mixed in one file: before version 26 pyarrow could not read nulls among lists of one length."""
    run = RunDir(tmp_path)
    first, second, third = Segment()(Source()(candidates(3)))
    made = [_with_embeddings(first, UNIT, None), _with_embeddings(second, None), replace(third, proposals=())]
    write_unit(run, 0, 0, made, "recipe", 4)
    again = [[p.embedding for p in one.proposals] for one in read_unit(run, "00000/unit-00000")]
    assert np.array_equal(again[0][0], UNIT) and again[0][0].dtype == np.float16
    assert again[0][1] is None and again[1] == [None] and again[2] == []


def test_embeddings_are_read_as_one_matrix_in_the_proposals_order(tmp_path):
    """As selection wants them: a row a proposal, zeros where there is none, and no image is read."""
    run = RunDir(tmp_path)
    (made,) = Segment()(Source()(candidates(1)))
    write_unit(run, 0, 0, [_with_embeddings(made, None, UNIT)], "recipe", 4)
    file = pq.ParquetFile(run.unit_file("00000/unit-00000").path)
    proposals = file.read(columns=["proposals.list.element.embedding"])["proposals"].combine_chunks()
    embeddings = proposals.flatten().field("embedding").flatten().to_numpy().reshape(-1, 4)
    assert np.array_equal(embeddings, [np.zeros(4), UNIT])


def test_unit_without_a_single_score_has_the_schema_of_the_others(tmp_path):
    """Such as one whose images all failed: it says, too, how long embeddings are."""
    run = RunDir(tmp_path)
    scored = [_with_embeddings(one, UNIT) for one in Segment()(Source()(candidates(1)))]
    for number, made in enumerate((scored, candidates(2))):
        write_unit(run, 0, number, made, "recipe", 4)
    schemas = [pq.ParquetFile(run.unit_file(f"00000/unit-0000{n}").path).schema_arrow for n in (0, 1)]
    assert schemas[0].equals(schemas[1]) and embedding_dim_of(schemas[1]) == 4


def test_embedding_of_another_length_is_not_written(tmp_path):
    (made,) = Segment()(Source()(candidates(1)))
    with pytest.raises(pa.ArrowInvalid, match="expected 5 but got array of size 4"):
        write_unit(RunDir(tmp_path), 0, 0, [_with_embeddings(made, UNIT)], "recipe", 5)
