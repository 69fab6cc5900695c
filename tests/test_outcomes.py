import pytest

from xpaste_ray.outcomes import Outcome, object_outcomes

# 50 drawn: 42 placed and 8 not; of the 42, 3 are gone. The backgrounds show 20 objects, 9 are gone.
COUNTS = {
    "images": 10, "placed": 42, "skipped_too_small": 7, "skipped_too_large": 1,
    "empty_mask": 1, "occluded": 2, "pasted_annotations": 39,
    "background_objects": 20, "background_hidden": 5, "background_occluded": 4,
    "annotations": 50, "sized_by_overall": 6,
}  # fmt: skip


def _balanced(outcome):
    return outcome.kept + sum(outcome.rejected.values()) == outcome.made


def test_pasted_and_background_objects_are_told_apart_and_each_adds_up():
    pasted, own = object_outcomes(COUNTS)
    assert pasted == Outcome(
        "pasted objects",
        50,
        39,
        {"skipped_too_small": 7, "skipped_too_large": 1, "empty_mask": 1, "occluded": 2},
    )
    assert own == Outcome("background objects", 20, 11, {"hidden": 5, "occluded": 4})
    assert _balanced(pasted) and _balanced(own)


@pytest.mark.parametrize(
    ("counts", "made", "kept"),
    [
        pytest.param({"placed": 3, "pasted_annotations": 3, "annotations": 3}, 3, 3, id="kept"),
        pytest.param({"placed": 2, "pasted_annotations": 0, "hidden": 2, "annotations": 0}, 2, 0, id="gone"),
        pytest.param({"pasted_annotations": 0, "skipped_too_small": 2, "annotations": 0}, 2, 0, id="small"),
    ],
)  # fmt: skip
def test_backgrounds_without_objects_have_no_row(counts, made, kept):
    (outcome,) = object_outcomes(counts)
    assert (outcome.what, outcome.made, outcome.kept) == ("pasted objects", made, kept) and _balanced(outcome)
