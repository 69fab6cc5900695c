"""The seam between Arrow and the stages, and unit files, without a cluster."""

from dataclasses import replace

import pyarrow as pa
import pytest

from tests.conftest import candidates
from xpaste_ray.errors import RunError, SchemaError
from xpaste_ray.pipelines.adapter import StageActor
from xpaste_ray.pipelines.ledger import REJECT_AFTER_DEATHS, ROWS_AFTER_DEATHS, Ledger
from xpaste_ray.records import UNIT_IN_FLIGHT, candidate_to_dict


class HandOn:
    """A stage that changes nothing, loses the last candidate, or raises at some. `calls`: their ids."""

    def __init__(self, lose=False, raise_at=()):
        self.lose, self.raise_at, self.calls = lose, raise_at, []

    def __call__(self, given):
        self.calls.append([candidate.prompt.candidate_id for candidate in given])
        if set(self.calls[-1]) & set(self.raise_at):
            raise ValueError("broken row")
        return list(given[:-1] if self.lose else given)


def _actor(ledger=None, **kwargs):
    return StageActor("hand-on", f"{__name__}:HandOn", kwargs, ledger or Ledger({"hand-on": 1}))


def _unit(count=3):
    row = {"round": 1, "unit": 2, "candidates": [candidate_to_dict(one) for one in candidates(count)]}
    return pa.Table.from_pylist([row], schema=UNIT_IN_FLIGHT)


def _outcomes(tables):
    (table,) = tables
    return [(c["status"], c["reason"]) for c in table.to_pylist()[0]["candidates"]]


IDS = [candidate.prompt.candidate_id for candidate in candidates(3)]


def test_unit_goes_on_as_it_came():
    ledger = Ledger({"hand-on": 1})
    (done,) = _actor(ledger)(_unit())
    assert done.equals(_unit())
    totals = ledger.state().totals["hand-on"]
    assert (totals.units, totals.images, totals.loads) == (1, 3, 1)


def test_row_that_raises_is_rejected_and_its_neighbours_go_on():
    done = _outcomes(_actor(raise_at=(IDS[1],))(_unit()))
    assert done == [("ok", None), ("rejected", "hand-on_failed"), ("ok", None)]


def test_stage_that_loses_a_candidate_is_a_defect_that_is_told():
    ledger = Ledger({"hand-on": 1})
    with pytest.raises(SchemaError, match="'hand-on': it must hand on every candidate once"):
        list(_actor(ledger, lose=True)(_unit()))
    assert "it must hand on every candidate once" in ledger.state().failure


def test_stage_that_cannot_start_is_told():
    ledger = Ledger({"hand-on": 1})
    actor = _actor(ledger, no_such_option=1)
    assert "stage 'hand-on' cannot start" in ledger.state().failure
    with pytest.raises(RunError, match="stage 'hand-on' cannot start: .*no_such_option"):
        list(actor(_unit()))


def test_wrong_columns_name_the_stage():
    with pytest.raises(SchemaError, match="stage 'hand-on': column 'round' is missing"):
        list(_actor()(pa.table({"row": [1]})))


def test_unit_that_took_processes_down_runs_row_by_row_and_what_is_done_is_kept():
    ledger = Ledger({"hand-on": 1})
    for _ in range(ROWS_AFTER_DEATHS):
        ledger.begin("hand-on", "00001/unit-00002")  # and its process dies
    ledger.begin("hand-on", "00001/unit-00002")
    ledger.finish_row("hand-on", "00001/unit-00002", 0, replace(candidates(1)[0], model="earlier"))
    actor = _actor(ledger)
    (table,) = actor(_unit())
    assert actor._stage.calls == [[IDS[1]], [IDS[2]]]
    assert [c["model"] for c in table.to_pylist()[0]["candidates"]] == ["earlier", None, None]


def test_row_that_takes_every_process_down_is_rejected_alone():
    ledger = Ledger({"hand-on": 1})
    key = ("hand-on", "00001/unit-00002")
    for _ in range(ROWS_AFTER_DEATHS):
        ledger.begin(*key)
    for _ in range(REJECT_AFTER_DEATHS):
        ledger.begin(*key)
        assert ledger.begin_row(*key, 1)
    done = _outcomes(_actor(ledger)(_unit()))
    assert done == [("ok", None), ("rejected", "killed_worker"), ("ok", None)]
