"""The whole rule of F-EM, on tables small enough to check by hand."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.foregrounds.tables import chosen, outcome, overlapping, segment, without
from tests.selection.tables import check_balance
from xpaste_ray.config.em import EmSettings
from xpaste_ray.pipelines.outcomes import count_outcomes

EM = EmSettings(inner_fraction=0.75)
STEP_1 = EmSettings(iterations=0)


def pair(name, jitter, right=True, **more):
    """An image of two segments: 0, of the category, near (9, 0), and 1, near (0, 9), another in each image.
    right: whether the classifier likes the first one better."""
    scores = (0.9, 0.8) if right else (0.8, 0.9)
    return [
        segment(name, [9 + jitter, jitter], score=scores[0], **more),
        segment(name, [jitter, 9 + 20 * jitter], score=scores[1], ordinal=1, **more),
    ]


FOUR = [*pair("a", 0), *pair("b", 0.1), *pair("c", 0.2), *pair("d", 0.3, right=False)]


def test_step_1_alone():
    kept, rejected = outcome(FOUR, STEP_1)
    assert kept == ["a-m-0", "b-m-0", "c-m-0", "d-m-1"]
    assert set(rejected.values()) == {"not_chosen"} and len(rejected) == 4


def test_the_loop_mends_what_step_1_mistook():
    kept, rejected = outcome(FOUR, EM)
    assert kept == ["a-m-0", "b-m-0", "c-m-0", "d-m-0"]
    assert rejected == {("proposal", f"{name}-m-1"): "not_chosen" for name in "abcd"}


def test_what_each_step_chose_is_told_by_candidate():
    """Rows: a 0 and 1, b 2 and 3, c 4 and 5, d 6 and 7; x has none, and y is alone of its category."""
    found = chosen([*FOUR, without("x", "unreadable"), segment("y", [1, 1], category=2)], EM)
    assert found.candidate_ids.to_pylist() == ["a", "b", "c", "d", "x", "y"]
    assert found.choices.tolist() == [[0, 2, 4, 7, -1, 9], [0, 2, 4, 6, -1, 9], [0, 2, 4, 6, -1, 9]]
    one, two = found.logs
    assert (one.category_id, one.category, one.images, one.segments, one.fallback) == (1, "c1", 4, 8, None)
    assert [step.changed for step in one.iterations] == [1, 0]
    assert (two.category_id, two.images, two.fallback, two.iterations) == (2, 1, "too_few_images", ())


def test_a_category_with_one_image_keeps_what_step_1_chose():
    rows = [segment("a", [1, 2], score=0.5), segment("a", [3, 1], score=0.7, ordinal=1)]
    assert outcome(rows, EM)[0] == ["a-m-1"]


@pytest.mark.parametrize("how", [STEP_1, EM])
def test_a_chosen_segment_with_too_low_a_score_is_not_replaced_by_another(how):
    """The paper's last filter: 0.1 is enough, also as float32."""
    rows = [
        segment("a", [9, 0], score=0.1), segment("b", [9, 0.1], score=0.09),
        segment("b", [0, 9], cam=None, ordinal=1), segment("c", [9, 0.2], score=0.9),
    ]  # fmt: skip
    kept, rejected = outcome(rows, how)
    assert kept == ["a-m-0", "c-m-0"]
    assert rejected == {
        ("proposal", "b-m-0"): "low_class_score",
        ("proposal", "b-m-1"): "not_chosen",
        ("candidate", "b"): "low_class_score",
    }


def test_own_reasons_are_kept():
    rows = [
        without("a", "unreadable"), segment("b", [1], reason="area_too_small"), segment("c", [1], score=None),
        segment("d", [1], cam=None),
    ]  # fmt: skip
    kept, rejected = outcome(rows, EM)
    assert kept == []
    assert rejected == {
        ("candidate", "a"): "unreadable",
        ("proposal", "b-m-0"): "area_too_small", ("candidate", "b"): "area_too_small",
        ("proposal", "c-m-0"): "no_score", ("candidate", "c"): "no_score",
        ("proposal", "d-m-0"): "not_chosen", ("candidate", "d"): "not_chosen",
    }  # fmt: skip


def test_kept_rows_have_what_a_pool_is_sealed_from():
    names = chosen(FOUR, EM).selection.kept.column_names
    sealed = {"round", "unit", "candidate_id", "category", "method", "ordinal"}
    assert sealed | {"cam_distance", "class_score", "category_id"} <= set(names)


def test_a_category_does_not_depend_on_another():
    """Another kind of features, as many images, and the same image with a label of each."""
    other = [*pair("e", 0.1, category=2), *pair("f", 0.2, category=2), *pair("g", 0, False, category=2)]
    alone, both = outcome(FOUR, EM), outcome([*other, *FOUR], EM)
    assert both[0][:4] == alone[0] and both[1].items() >= alone[1].items()
    assert both[0][4:] == outcome(other, EM)[0]


# --- many objects an image ------------------------------------------------------------------------

MANY = EmSettings(objects="many", inner_fraction=1)


def crowd(*second, overlaps=()):
    """Four images with an object each, and in the last further segments. overlaps: of the last image's object
    with them."""
    objects = [[9, 0], [9, 1], [9, 2], [9, 1.5]]
    rows = [segment(name, feature) for name, feature in zip("abcd", objects, strict=True)]
    rows[-1][0]["overlaps"] = overlapping(*overlaps)
    return [*rows, *(segment("d", feature, cam=0.5, ordinal=1 + at) for at, feature in enumerate(second))]


def test_further_objects_are_those_within_the_distance_of_the_inner_ones():
    """Inner ones are up to 1.1 from the mean (9, 1.1); (9, 0.5) is nearer than that, (9, 9) is not. (9, 1.2)
    is nearer than the one that step 1 chose, so it is what the loop chooses, and that one comes along."""
    kept, rejected = outcome(crowd([9, 0.5], [9, 9]), MANY)
    assert kept == ["a-m-0", "b-m-0", "c-m-0", "d-m-0", "d-m-1"]
    assert rejected == {("proposal", "d-m-2"): "not_chosen"}
    assert outcome(crowd([9, 0.5], [9, 9]), MANY.model_copy(update={"objects": "one"}))[0][-1] == "d-m-0"
    assert outcome(crowd([9, 1.2]), MANY)[0][-2:] == ["d-m-0", "d-m-1"]


@pytest.mark.parametrize(
    ("iou", "contained", "outcome_of_second"),
    [
        pytest.param(0.1, 0.1, None, id="as-much-as-allowed"),
        pytest.param(0.11, 0.05, "overlap", id="iou"),
        pytest.param(0.05, 0.4, "overlap", id="a-small-part-of-it"),
    ],
)
def test_further_objects_overlap_none_that_is_chosen(iou, contained, outcome_of_second):
    rows = crowd([9, 0.5], overlaps=[(1, iou, contained)])
    assert outcome(rows, MANY)[1].get(("proposal", "d-m-1")) == outcome_of_second


def test_of_two_further_ones_that_overlap_the_nearer_one_stays():
    rows = crowd([9, 0.3], [9, 0.8])
    rows[4][0]["overlaps"] = overlapping((2, 0.6, 0.7))
    kept, rejected = outcome(rows, MANY)
    assert kept[-2:] == ["d-m-0", "d-m-2"] and rejected == {("proposal", "d-m-1"): "overlap"}


def test_the_chosen_one_stays_also_if_a_further_one_is_as_near():
    rows = crowd([9, 1.5], overlaps=[(1, 0.9, 0.9)])
    assert outcome(rows, MANY)[0][-1] == "d-m-0"


def test_further_objects_must_have_the_score_too():
    rows = crowd([9, 0.5])
    rows[-1][0]["class_score"] = 0.05
    assert outcome(rows, MANY)[1] == {("proposal", "d-m-1"): "low_class_score"}


@pytest.mark.parametrize("how", [MANY.model_copy(update={"iterations": 0}), MANY])
def test_without_a_loop_there_are_no_further_ones(how):
    """One image: nothing to measure by."""
    rows = [segment("a", [9, 0]), segment("a", [9, 0], ordinal=1)]
    assert outcome(rows, how)[0] == ["a-m-0"]


# --- any table ------------------------------------------------------------------------------------

_segments = st.builds(
    lambda candidate, method, cam, score, feature, reason: segment(
        f"k{candidate}",
        feature,
        cam,
        score,
        candidate % 2,
        method=method,
        index=candidate // 2,
        reason=reason,
    ),
    st.integers(0, 7),
    st.sampled_from(["m", "n", "o"]),
    st.one_of(st.none(), st.floats(0, 1, width=32)),
    st.one_of(st.none(), st.floats(0, 1, width=32)),
    st.tuples(st.integers(-2, 2), st.integers(0, 1), st.integers(0, 3)),
    st.sampled_from([None, None, None, "area_too_small"]),
)
_tables = st.builds(
    lambda some, none: some + [without(f"z{number}", "unreadable", number % 3) for number in range(none)],
    st.lists(_segments, max_size=18, unique_by=lambda one: (one[0]["candidate_id"], one[0]["method"])),
    st.integers(0, 3),
)
_settings = st.builds(
    EmSettings,
    nearest=st.integers(1, 3),
    distance=st.sampled_from(["mahalanobis", "cosine"]),
    iterations=st.integers(0, 3),
    objects=st.sampled_from(["one", "many"]),
    min_class_score=st.sampled_from([0.0, 0.3]),
)


@settings(deadline=None)
@given(_tables, _settings)
def test_kept_plus_rejected_is_made(rows, how):
    selection = chosen(rows, how).selection
    check_balance(selection)
    kept = selection.kept
    made = {"candidate": len({row["candidate_id"] for row, _ in rows}), "proposal": selection.proposals}
    count_outcomes(
        selection.rejects,
        made,
        {"candidate": len(set(kept["candidate_id"].to_pylist())), "proposal": len(kept)},
    )
    if how.objects == "one":
        assert len(set(kept["candidate_id"].to_pylist())) == len(kept)


@settings(deadline=None)
@given(_tables, _settings, st.randoms())
def test_row_order_does_not_matter(rows, how, random):
    mixed = random.sample(rows, len(rows))
    one, other = chosen(rows, how), chosen(mixed, how)
    assert one.selection.kept.equals(other.selection.kept)
    assert one.selection.rejects.equals(other.selection.rejects)
    assert one.logs == other.logs and one.candidate_ids.equals(other.candidate_ids)
    for first, second in zip(one.choices, other.choices, strict=True):
        picked = [rows[i][0]["method"] if i >= 0 else None for i in first]
        assert picked == [mixed[i][0]["method"] if i >= 0 else None for i in second]


def test_nothing_becomes_nothing():
    found = chosen([], EM)
    assert (found.selection.kept.num_rows, found.selection.rejects.num_rows) == (0, 0)
    assert found.logs == () and found.choices.shape == (1, 0)
    assert isinstance(found.candidate_ids, pa.Array | pa.ChunkedArray) and np.size(found.choices) == 0
