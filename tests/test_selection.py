"""The bar rule on tables small enough to check by hand."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpaste_ray.config import SelectSettings
from xpaste_ray.errors import SchemaError
from xpaste_ray.records import SCORES
from xpaste_ray.selection import select

RULE = SelectSettings(
    min_clip_logit=21, tolerance=1, min_area_fraction=0.05, max_area_fraction=0.95, max_side_px=256
)


def _table(*rows):
    """Rows: (candidate, category, method or None, logit or None, area, own reason or None)."""
    return pa.Table.from_pylist(
        [
            {
                "round": 0, "unit": 0, "candidate_id": candidate, "category_id": category,
                "category": f"c{category}", "index": 0,
                "candidate_status": "ok" if method else "rejected",
                "candidate_reason": None if method else reason, "transient": False,
                "method": method, "ordinal": 0 if method else None,
                "status": ("rejected" if reason else "ok") if method else None,
                "reason": reason if method else None, "area_fraction": area, "clip_logit": logit,
            }
            for candidate, category, method, logit, area, reason in rows
        ],
        schema=SCORES,
    )  # fmt: skip


def _outcome(table, rule=RULE):
    selection = select(table, rule)
    kept = list(
        zip(selection.kept["candidate_id"].to_pylist(), selection.kept["method"].to_pylist(), strict=True)
    )
    rejected = {(r["kind"], r["id"]): r["reason"] for r in selection.rejects.to_pylist()}
    return kept, rejected


def test_bar_is_the_threshold_when_the_category_does_well():
    kept, rejected = _outcome(_table(("a", 1, "m", 25, 0.5, None), ("b", 1, "m", 20.9, 0.5, None)))
    assert kept == [("a", "m")]
    assert rejected == {("proposal", "b-m-0"): "low_clip_logit", ("candidate", "b"): "low_clip_logit"}


def test_bar_relaxes_to_within_tolerance_of_the_best():
    """Best 18, so the bar is 17: 17.5 passes, 16.9 does not."""
    table = _table(
        *((name, 1, "m", logit, 0.5, None) for name, logit in (("a", 18), ("b", 17.5), ("c", 16.9)))
    )
    assert _outcome(table)[0] == [("a", "m"), ("b", "m")]


def test_bars_are_by_category():
    table = _table(("a", 1, "m", 30, 0.5, None), ("b", 2, "m", 10, 0.5, None))
    assert _outcome(table)[0] == [("a", "m"), ("b", "m")]


@pytest.mark.parametrize(
    ("area", "reason"), [(0.049, "area_too_small"), (0.05, None), (0.95, None), (0.951, "area_too_large")]
)
def test_area_limits_are_included(area, reason):
    assert _outcome(_table(("a", 1, "m", 30, area, None)))[1].get(("candidate", "a")) == reason


def test_best_proposal_wins_and_ties_break_by_method_name():
    table = _table(
        ("a", 1, "sam", 24, 0.5, None), ("a", 1, "grabcut", 25, 0.5, None),
        ("b", 1, "sam", 25, 0.5, None), ("b", 1, "grabcut", 25, 0.5, None),
    )  # fmt: skip
    kept, rejected = _outcome(table)
    assert kept == [("a", "grabcut"), ("b", "grabcut")]
    assert rejected == {
        ("proposal", "a-sam-0"): "not_best_proposal",
        ("proposal", "b-sam-0"): "not_best_proposal",
    }


def test_candidate_is_rejected_for_its_best_proposals_reason():
    table = _table(("a", 1, "x", 10, 0.5, None), ("a", 1, "y", 30, 0.01, None))
    assert _outcome(table)[1][("candidate", "a")] == "area_too_small"


def test_failed_proposal_does_not_lend_its_reason_to_the_candidate():
    """The other proposal was scored, so it is the best one."""
    table = _table(("a", 1, "x", None, 0.0, "segmentation_failed"), ("a", 1, "y", 30, 0.01, None))
    assert _outcome(table)[1][("candidate", "a")] == "area_too_small"


def test_all_failed_category_keeps_nothing():
    """In the paper's code the bar of such a category falls to -2 and failures pass it."""
    table = _table(("a", 1, "m", None, 0.0, "scoring_failed"), ("b", 1, None, None, None, "black_image"))
    kept, rejected = _outcome(table)
    assert kept == []
    assert rejected[("candidate", "a")] == "scoring_failed"
    assert rejected[("candidate", "b")] == "black_image"


def test_failed_proposal_does_not_take_its_neighbours_along():
    table = _table(("a", 1, "x", None, 0.0, "segmentation_failed"), ("a", 1, "y", 30, 0.5, None))
    kept, rejected = _outcome(table)
    assert kept == [("a", "y")]
    assert ("candidate", "a") not in rejected


def test_not_a_number_never_passes():
    kept, rejected = _outcome(_table(("a", 1, "m", float("nan"), 0.5, None)))
    assert kept == [] and rejected[("candidate", "a")] == "no_score"


_row = st.tuples(
    st.integers(0, 6).map(lambda i: f"k{i}"),
    st.sampled_from(["m", "n", "o"]),
    st.one_of(st.none(), st.floats(0, 40, width=32)),
    st.floats(0, 1, width=32),
)


@given(st.lists(_row, max_size=20, unique_by=lambda row: row[:2]))
def test_kept_plus_rejected_is_made(rows):
    table = _table(*((c, int(c[1]) % 2, m, logit, area, None) for c, m, logit, area in rows))
    selection = select(table, RULE)
    kinds = selection.rejects["kind"].to_pylist()
    assert selection.kept.num_rows + kinds.count("proposal") == selection.proposals == len(rows)
    assert (
        selection.kept.num_rows + kinds.count("candidate")
        == selection.candidates
        == len({r[0] for r in rows})
    )


def test_row_order_does_not_matter():
    rows = [("a", 1, "x", 25, 0.5, None), ("b", 1, "x", 22, 0.5, None), ("a", 1, "y", 25, 0.5, None)]
    assert select(_table(*rows), RULE).kept == select(_table(*rows[::-1]), RULE).kept


def test_wrong_columns_name_the_stage():
    with pytest.raises(SchemaError, match="stage 'select': column 'clip_logit' is missing"):
        select(_table().drop_columns(["clip_logit"]), RULE)
