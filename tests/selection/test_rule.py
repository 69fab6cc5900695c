"""X-Paste's bar and the other limits of a row, on tables small enough to check by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.selection.tables import check_balance, outcome, row, rule, table
from xpaste_ray.config import PoolSettings, load
from xpaste_ray.errors import ConfigError, SchemaError
from xpaste_ray.selection import select


def test_bar_is_the_threshold_when_the_category_does_well():
    kept, rejected = outcome([row("a", 25), row("b", 20.9)], rule())
    assert kept == ["a-m-0"]
    assert rejected == {("proposal", "b-m-0"): "low_clip_logit", ("candidate", "b"): "low_clip_logit"}


def test_bar_relaxes_to_within_tolerance_of_the_best():
    """Best 18, so the bar is 17: 17.5 passes, 16.9 does not."""
    assert outcome([row("a", 18), row("b", 17.5), row("c", 16.9)], rule())[0] == ["a-m-0", "b-m-0"]


def test_bars_are_by_category():
    assert outcome([row("a", 30), row("b", 10, category=2)], rule())[0] == ["a-m-0", "b-m-0"]


def test_a_score_that_equals_the_bar_reaches_it():
    """20.9 is stored as 20.8999996; best 18.1 less 0.2 is 17.9, which is stored as 17.8999996."""
    assert outcome([row("a", 30), row("b", 20.9)], rule(min_clip_logit=20.9))[0] == ["a-m-0", "b-m-0"]
    assert outcome([row("a", 18.1), row("b", 17.9)], rule(tolerance=0.2))[0] == ["a-m-0", "b-m-0"]


@pytest.mark.parametrize(
    ("area", "reason"), [(0.049, "area_too_small"), (0.05, None), (0.95, None), (0.951, "area_too_large")]
)
def test_area_limits_are_included(area, reason):
    assert outcome([row("a", 30, area_fraction=area)], rule())[1].get(("candidate", "a")) == reason


def test_the_best_of_a_category_counts_before_its_area_does():
    """X-Paste takes the maximum first: a category may end empty for the area of its best."""
    kept, rejected = outcome([row("a", 19, area_fraction=0.99), row("b", 17.9)], rule())
    assert kept == [] and rejected[("candidate", "b")] == "low_clip_logit"


def test_best_proposal_wins_and_ties_break_by_method_name_then_by_ordinal():
    rows = [
        row("a", 24, method="sam"), row("a", 25, method="grabcut"),
        row("b", 25, method="sam"), row("b", 25, method="grabcut", ordinal=1),
        row("b", 25, method="grabcut"),
    ]  # fmt: skip
    kept, rejected = outcome(rows, rule())
    assert kept == ["a-grabcut-0", "b-grabcut-0"]
    assert set(rejected) == {("proposal", name) for name in ("a-sam-0", "b-sam-0", "b-grabcut-1")}
    assert set(rejected.values()) == {"not_best_proposal"}


def test_ties_do_not_follow_the_order_in_which_methods_were_listed():
    """In the paper's code they do: the order of a directory, which differs by machine."""
    listed = [row("a", 25, method=method) for method in ("u2net", "clipseg", "sam")]
    for rows in (listed, listed[::-1], listed[1:] + listed[:1]):
        assert outcome(rows, rule())[0] == ["a-clipseg-0"]


def test_candidate_is_rejected_for_its_best_proposals_reason():
    rows = [row("a", 10, method="x"), row("a", 30, method="y", area_fraction=0.01)]
    assert outcome(rows, rule())[1][("candidate", "a")] == "area_too_small"


def test_failed_proposal_does_not_lend_its_reason_to_the_candidate():
    """The other proposal was scored, so it is the best one."""
    failed = row("a", None, method="x", area_fraction=0.0, reason="segmentation_failed")
    rows = [failed, row("a", 30, method="y", area_fraction=0.01)]
    assert outcome(rows, rule())[1][("candidate", "a")] == "area_too_small"


def test_all_failed_category_keeps_nothing():
    """In the paper's code the bar of such a category falls to -2 and failures pass it."""
    rows = [
        row("a", None, area_fraction=0.0, reason="scoring_failed"),
        row("b", None, method=None, reason="black_image"),
    ]
    for changes in ({}, {"min_area_fraction": 0, "min_clip_logit": -5}, {"proposals": "many"}):
        kept, rejected = outcome(rows, rule(**changes))
        assert kept == []
        assert rejected == {
            ("proposal", "a-m-0"): "scoring_failed", ("candidate", "a"): "scoring_failed",
            ("candidate", "b"): "black_image",
        }  # fmt: skip


def test_a_rejected_proposal_with_a_score_neither_passes_nor_raises_the_bar():
    rows = [row("a", 99, reason="empty_mask"), row("b", 10)]
    assert outcome(rows, rule())[0] == ["b-m-0"]


def test_failed_proposal_does_not_take_its_neighbours_along():
    rows = [row("a", None, method="x", reason="segmentation_failed"), row("a", 30, method="y")]
    kept, rejected = outcome(rows, rule())
    assert kept == ["a-y-0"]
    assert ("candidate", "a") not in rejected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_not_a_number_never_passes(value):
    kept, rejected = outcome([row("a", value), row("b", 5)], rule())
    assert kept == ["b-m-0"] and rejected[("candidate", "a")] == "no_score"


def test_plain_threshold_is_above_a_cosine_and_is_never_relaxed():
    """28 is a cosine of 0.28, which is not above 0.28; nor is a category's best."""
    rows = [row("a", 28), row("b", 28.01), row("c", 27, category=2)]
    kept, rejected = outcome(rows, rule(rule="threshold", min_cosine=0.28))
    assert kept == ["b-m-0"]
    assert rejected[("candidate", "a")] == rejected[("candidate", "c")] == "low_clip_logit"


def test_another_score_decides_and_says_which_proposal_is_best():
    rows = [row("a", 30, method="x", clip_logit_crop=10), row("a", 20, method="y", clip_logit_crop=26)]
    assert outcome(rows, rule(score="clip_logit_crop"))[0] == ["a-y-0"]


def test_similarity_to_real_crops_is_a_limit_only_where_there_are_some():
    """DiverGen uses at least 0.6. Category 2 has no real crops."""
    rows = [
        row("a", 30, real_similarity=0.6), row("b", 30, real_similarity=0.59),
        row("c", 30, real_similarity=float("nan")), row("d", 30, category=2),
        row("e", 30),
    ]  # fmt: skip
    kept, rejected = outcome(rows, rule(min_real_similarity=0.6))
    assert kept == ["a-m-0", "d-m-0"]
    assert rejected[("candidate", "b")] == "low_real_similarity"
    assert rejected[("candidate", "c")] == rejected[("candidate", "e")] == "no_score"


@pytest.mark.parametrize(
    ("limit", "column", "values", "reason"),
    [
        pytest.param({"max_nsfw": 0.5}, "nsfw", (0.5, 0.51), "nsfw", id="nsfw"),
        pytest.param({"min_aesthetic": 4.5}, "aesthetic", (4.5, 4.4), "low_aesthetic", id="aesthetic"),
    ],
)
def test_what_a_head_did_not_judge_does_not_pass(limit, column, values, reason):
    good, bad = values
    rows = [row("a", 30, **{column: good}), row("b", 30, **{column: bad}), row("c", 30)]
    kept, rejected = outcome(rows, rule(**limit))
    assert kept == ["a-m-0"]
    assert rejected[("candidate", "b")] == reason and rejected[("candidate", "c")] == "no_score"
    assert outcome(rows, rule())[0] == ["a-m-0", "b-m-0", "c-m-0"]


def test_instances_stand_by_category_then_index_then_id():
    rows = [
        row("z", 30, category=2), row("b", 30, index=1), row("c", 30), row("a", 30, index=1), row("d", 30)
    ]  # fmt: skip
    assert outcome(rows, rule())[0] == ["c-m-0", "d-m-0", "a-m-0", "b-m-0", "z-m-0"]


def test_rejects_name_a_candidate_after_its_proposals():
    rows = [row("a", 1, method="x"), row("a", 2, method="y"), row("b", 30)]
    assert list(outcome(rows, rule())[1]) == [
        ("proposal", "a-x-0"),
        ("proposal", "a-y-0"),
        ("candidate", "a"),
    ]


_row = st.builds(
    lambda candidate, method, logit, area, reason: row(
        f"k{candidate}", logit, candidate % 2, method, area_fraction=area, index=candidate // 2, reason=reason
    ),
    st.integers(0, 6),
    st.sampled_from(["m", "n", "o"]),
    st.one_of(st.none(), st.floats(0, 40, width=32)),
    st.floats(0, 1, width=32),
    st.sampled_from([None, None, None, "empty_mask"]),
)
_rows = st.lists(_row, max_size=20, unique_by=lambda one: (one["candidate_id"], one["method"]))
_rules = st.builds(
    lambda **changes: rule(**changes),
    rule=st.sampled_from(["bar", "threshold"]),
    min_cosine=st.just(0.2),
    proposals=st.sampled_from(["one-per-image", "many"]),
    max_per_category=st.sampled_from([None, 1, 2]),
    pick=st.sampled_from(["best", "random"]),
)


@given(_rows, _rules)
def test_kept_plus_rejected_is_made(rows, settings):
    selection = select(table(*rows), settings)
    assert selection.proposals == len(rows)
    assert selection.candidates == len({one["candidate_id"] for one in rows})
    check_balance(selection)


@given(_rows, _rules, st.randoms())
def test_row_order_does_not_matter(rows, settings, random):
    mixed = random.sample(rows, len(rows))
    one, other = select(table(*rows), settings), select(table(*mixed), settings)
    assert one.kept.equals(other.kept) and one.rejects.equals(other.rejects)


def test_nothing_becomes_nothing():
    for settings in (rule(), rule(proposals="many", max_per_category=1, max_duplicate_cosine=0.9)):
        selection = select(table(), settings, embeddings=lambda rows: rows)
        assert (selection.kept.num_rows, selection.rejects.num_rows, selection.candidates) == (0, 0, 0)


def test_wrong_columns_name_the_stage():
    with pytest.raises(SchemaError, match="stage 'select': column 'clip_logit' is missing"):
        select(table().drop_columns(["clip_logit"]), rule())
    select(table().drop_columns(["clip_logit_crop", "overlaps"]), rule())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("select.score=clip_logit_crop", "select.score clip_logit_crop is not made: add crop to score.views"),
        ("select.max_nsfw=0.5", "select.max_nsfw needs score.nsfw, which is not set"),
        ("select.min_real_similarity=0.6", "select.min_real_similarity needs score.real"),
    ],
)
def test_a_rule_on_a_score_that_is_not_made_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load(PoolSettings, "demo", [override])
