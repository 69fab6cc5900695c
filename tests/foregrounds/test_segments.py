import numpy as np
import pytest

from tests.foregrounds.tables import segment, without
from tests.selection.tables import table
from xpaste_ray.errors import SchemaError
from xpaste_ray.foregrounds import segments_of


def found(*rows):
    """Of each category, ids of its segments, and of which image each is."""
    made = table(*(row for row, _ in rows))
    names = [f"{r['candidate_id']}-{r['method']}-{r['ordinal']}" for r in made.to_pylist()]
    return {
        one.category_id: ([names[row] for row in one.rows], one.image_of.tolist())
        for one in segments_of(made)
    }


def test_segments_stand_by_image_then_by_method_and_ordinal():
    rows = [
        segment("b", [1], ordinal=1), segment("a", [1], index=1), segment("b", [1]),
        segment("c", [1], category=0), segment("b", [1], method="k", ordinal=7), segment("d", [1], index=1),
    ]  # fmt: skip
    expected = {
        0: (["c-m-0"], [0]),
        1: (["b-k-7", "b-m-0", "b-m-1", "a-m-0", "d-m-0"], [0, 0, 0, 1, 2]),
    }
    assert found(*rows) == found(*rows[::-1]) == expected


def test_what_was_not_classified_is_no_segment():
    """Nor is a category that has none."""
    rows = [
        segment("a", [1], score=None), segment("a", [1], ordinal=1, reason="area_too_small"),
        without("b", "unreadable"), segment("c", [1], cam=None), without("d", "unreadable", category=2),
        segment("e", [1], score=float("nan")),
    ]  # fmt: skip
    assert found(*rows) == {1: (["c-m-0"], [0])}
    assert segments_of(table()) == []


def test_a_missing_column_is_named():
    with pytest.raises(SchemaError, match="'cam_distance' is missing"):
        segments_of(table().drop_columns(["cam_distance"]))


def test_number_of_images_is_that_with_segments():
    (one,) = segments_of(table(*(segment(name, [1])[0] for name in "abc"), without("x", "unreadable")[0]))
    assert one.images == 3 and one.category == "c1" and one.rows.dtype == one.image_of.dtype == np.int64
