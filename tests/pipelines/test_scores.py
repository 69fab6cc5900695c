from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import candidates
from tests.standins import Score, Segment, Source
from xpaste_ray.errors import SchemaError
from xpaste_ray.pipelines.scores import compact_scores, stored_embeddings
from xpaste_ray.records import SCORES, UNITS, Proposal, Unit, unit_id, unit_to_row
from xpaste_ray.runs import RunDir, write_parquet
from xpaste_ray.unit_files import write_unit


def _run(tmp_path, asked):
    run = RunDir(tmp_path)
    unit = Unit(0, 0, tuple(candidate.prompt for candidate in asked))
    write_parquet(run.units, pa.Table.from_pylist([unit_to_row(unit)], schema=UNITS))
    return run


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
    asked = candidates(3)
    run = _run(tmp_path, asked)
    write_unit(run, 0, 0, [asked[i] for i in written], "recipe", 1)
    if whole:
        compact_scores(run, "recipe")
        ids = pq.read_table(run.scores)["candidate_id"].to_pylist()
        assert ids == [candidate.prompt.candidate_id for candidate in asked]
    else:
        with pytest.raises(SchemaError, match="00000/unit-00000"):
            compact_scores(run, "recipe")


def test_row_a_proposal_and_one_for_a_candidate_without(tmp_path):
    """Three candidates: two proposals, none because it was rejected, and one that was not scored."""
    one, two, three = Segment()(Source()(candidates(3)))
    (first,) = Score()([one])
    made = [
        replace(first, proposals=(*first.proposals, Proposal("other", 1, None, "rejected", "empty_mask"))),
        replace(two, status="rejected", reason="black_image", image=None, proposals=()),
        three,
    ]
    run = _run(tmp_path, made)
    write_unit(run, 0, 0, made, "recipe", 1)
    compact_scores(run, "recipe")
    table = pq.read_table(run.scores)
    assert table.schema.equals(SCORES)
    rows = table.to_pylist()
    assert [(r["candidate_id"], r["method"], r["ordinal"]) for r in rows] == [
        (one.prompt.candidate_id, "stand-in", 0), (one.prompt.candidate_id, "other", 1),
        (two.prompt.candidate_id, None, None), (three.prompt.candidate_id, "stand-in", 0),
    ]  # fmt: skip
    assert rows[0]["clip_logit"] == pytest.approx(dict(first.proposals[0].scores)["clip_logit"])
    assert [r["clip_logit"] is None for r in rows] == [False, True, True, True]
    assert [r["reason"] for r in rows] == [None, "empty_mask", None, None]
    assert rows[2]["candidate_reason"] == "black_image"


# --- embeddings -----------------------------------------------------------------------------------


def _units_with_embeddings(tmp_path, embeddings, kind, per_unit=2):
    """A run and its score table: candidates of `embeddings`, each a list of its proposals' vectors, some
    in a unit; only what is read of unit files is there. kind: the type of the column."""
    run = RunDir(tmp_path)
    proposal = pa.struct([("method", pa.string()), ("embedding", kind)])
    rows = []
    for number in range(0, len(embeddings), per_unit):
        unit = number // per_unit
        some = embeddings[number : number + per_unit]
        column = pa.array(
            [[{"method": "m", "embedding": one} for one in each] for each in some], pa.list_(proposal)
        )
        write_parquet(run.unit_file(unit_id(0, unit)), pa.table({"proposals": column}))
        for each in some:
            rows += [{"round": 0, "unit": unit, "method": "m"} for _ in each] or [
                {"round": 0, "unit": unit, "method": None}
            ]
    return run, pa.Table.from_pylist(rows, pa.schema([SCORES.field(n) for n in ("round", "unit", "method")]))


@pytest.mark.parametrize("kind", [pa.list_(pa.float16()), pa.list_(pa.float16(), 2)], ids=["list", "fixed"])
def test_embeddings_come_in_the_order_in_which_they_are_asked_for(tmp_path, kind):
    """Rows: 0 and 1 of the first candidate; 2, which has no proposal; 3, not scored; 4 and 5 of the fourth;
    6 of the fifth, in a unit of its own."""

    def vector(number):
        return np.array([number, -number], np.float16)

    embeddings = [[vector(0), vector(1)], [], [None], [vector(4), vector(5)], [vector(6)]]
    run, scores = _units_with_embeddings(tmp_path, embeddings, kind)
    with stored_embeddings(run, scores) as of:
        got = of(np.array([6, 0, 5, 3, 1]))
        assert got[slice(0, 5)].tolist() == [[6, -6], [0, 0], [5, -5], [0, 0], [1, -1]]
        assert got[slice(2, 3)].tolist() == [[5, -5]] and got[slice(0, 5)].dtype == np.float16
        assert of(np.array([3]))[slice(0, 1)].shape[0] == 1
        assert len(of(np.array([], int))[slice(0, 0)]) == 0


def test_only_units_with_wanted_rows_are_read(tmp_path):
    embeddings = [[np.array([i, 1], np.float16)] for i in range(6)]
    run, scores = _units_with_embeddings(tmp_path, embeddings, pa.list_(pa.float16(), 2))
    run.unit_file(unit_id(0, 1)).remove()
    with stored_embeddings(run, scores) as of:
        assert of(np.array([5, 0]))[slice(0, 2)].tolist() == [[5, 1], [0, 1]]
        with pytest.raises(FileNotFoundError):
            of(np.array([2]))


def test_a_unit_that_is_not_of_the_score_table_is_an_error(tmp_path):
    embeddings = [[np.ones(2, np.float16)], [np.ones(2, np.float16)], [np.ones(3, np.float16)]]
    run, scores = _units_with_embeddings(tmp_path, embeddings, pa.list_(pa.float16()), per_unit=1)
    with (
        stored_embeddings(run, scores) as of,
        pytest.raises(SchemaError, match="embeddings of 2 numbers, another unit of 3"),
    ):
        of(np.array([0, 2]))
    run, scores = _units_with_embeddings(tmp_path, embeddings[:2], pa.list_(pa.float16()))
    with (
        stored_embeddings(run, scores.slice(1)) as of,
        pytest.raises(SchemaError, match="unit-00000.parquet has 2 proposals, the score table 1"),
    ):
        of(np.array([0]))
