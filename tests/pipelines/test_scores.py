from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import candidates
from tests.standins import Score, Segment, Source
from xpaste_ray.errors import SchemaError
from xpaste_ray.pipelines.scores import compact_scores
from xpaste_ray.records import SCORES, UNITS, Proposal, Unit, unit_to_row
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
