"""`proposals: many`, by hand."""

import pytest

from tests.selection.tables import check_balance, outcome, row, rule, table
from xpaste_ray.errors import SchemaError
from xpaste_ray.selection import select

MANY = rule(proposals="many")


def _rows(*scores, overlaps, candidate="a", **more):
    """Proposals m-0, m-1, ... of one candidate; overlaps: by place, of (place, IoU, part of its own)."""
    return [
        row(candidate, score, ordinal=place, overlaps=[
            dict(zip(("place", "iou", "contained"), one, strict=True)) for one in overlaps.get(place, ())
        ], **more)
        for place, score in enumerate(scores)
    ]  # fmt: skip


def test_every_proposal_that_passes_is_kept():
    kept, rejected = outcome(_rows(30, 25, 10, overlaps={}), MANY)
    assert kept == ["a-m-0", "a-m-1"]
    assert rejected == {("proposal", "a-m-2"): "low_clip_logit"}


@pytest.mark.parametrize(
    ("iou", "contained", "reason"),
    [
        pytest.param(0.5, 0.9, None, id="at-both-limits"),
        pytest.param(0.51, 0.7, "overlap", id="iou"),
        pytest.param(0.2, 0.91, "duplicate", id="inside-a-larger-one"),
        pytest.param(0.95, 0.99, "overlap", id="both"),
    ],
)
def test_a_worse_one_that_a_better_one_covers_goes(iou, contained, reason):
    rejected = outcome(_rows(30, 29, overlaps={1: [(0, iou, contained)]}), MANY)[1]
    assert rejected.get(("proposal", "a-m-1")) == reason and ("candidate", "a") not in rejected


def test_a_larger_one_around_a_better_small_one_is_a_duplicate_too():
    """All of the small one is in the large one: told by the small one, which is the better."""
    kept, rejected = outcome(_rows(30, 29, overlaps={0: [(1, 0.1, 1.0)], 1: [(0, 0.1, 0.1)]}), MANY)
    assert kept == ["a-m-0"] and rejected == {("proposal", "a-m-1"): "duplicate"}


def test_what_only_a_removed_one_covers_stays():
    """1 goes because of 0; 2 overlaps 1 only."""
    kept, _ = outcome(_rows(30, 29, 28, overlaps={1: [(0, 0.6, 0.7)], 2: [(1, 0.6, 0.7)]}), MANY)
    assert kept == ["a-m-0", "a-m-2"]


def test_what_fails_a_limit_removes_no_other():
    rows = _rows(30, 29, overlaps={1: [(0, 0.9, 0.95)]})
    rows[0]["area_fraction"] = 0.99
    assert outcome(rows, MANY)[0] == ["a-m-1"]


def test_of_equals_the_first_method_stays():
    overlaps = [{"place": 0, "iou": 0.9, "contained": 0.9}]
    rows = [row("a", 30, method="sam"), row("a", 30, method="grabcut", overlaps=overlaps)]
    assert outcome(rows, MANY)[0] == ["a-grabcut-0"]


def test_places_count_among_the_rows_of_the_candidate_failed_ones_too():
    """0 failed; 2 overlaps 1. Rows of another candidate stand between them."""
    one = _rows(None, 30, 29, overlaps={2: [(1, 0.6, 0.7)]})
    one[0] |= {"status": "rejected", "reason": "empty_mask"}
    other = _rows(30, 25, overlaps={1: [(0, 0.6, 0.7)]}, candidate="A")
    mixed = [one[0], other[0], one[1], other[1], one[2]]
    assert outcome(mixed, MANY)[0] == ["A-m-0", "a-m-1"]
    selection = select(table(*mixed), MANY)
    check_balance(selection)
    assert selection.rejects["reason"].to_pylist() == ["overlap", "empty_mask", "overlap"]


def test_candidate_of_many_that_are_all_rejected_has_its_bests_reason():
    kept, rejected = outcome([*_rows(12, 10, overlaps={}), row("b", 30)], MANY)
    assert kept == ["b-m-0"] and rejected[("candidate", "a")] == "low_clip_logit"


def test_a_place_that_is_not_there_is_an_error():
    with pytest.raises(SchemaError, match="overlap with proposal 7 of a candidate that has 2"):
        outcome(_rows(30, 29, overlaps={1: [(7, 0.6, 0.7)]}), MANY)
