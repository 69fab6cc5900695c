"""Golden images small enough to check by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from xpaste_ray.compose.annotate import annotate
from xpaste_ray.compose.plan import PastePlan, Placement
from xpaste_ray.compose.render import render
from xpaste_ray.pool import Instance


class SquarePool:
    """Stands for a pool of three opaque 4 x 4 squares, "a", "b" and "c", grey 1, 2 and 3."""

    row_of_id = {"a": 0, "b": 1, "c": 2}  # noqa: RUF012

    def instance(self, row):
        alpha = np.full((4, 4), 255, np.uint8)
        return Instance("abc"[row], row + 10, np.full((4, 4, 3), row + 1, np.uint8), alpha)


def _render(backgrounds, *placements, side_px=16):
    plan = PastePlan(0, "0.png", (0, 0, 32, 32), side_px, placements)
    return plan, render(plan, SquarePool(), backgrounds)


def _square(name, top_left_yx, size_hw=(4, 4), flip=False):
    return Placement(name, "abc".index(name) + 10, size_hw, top_left_yx, flip)


def test_three_squares_every_number(backgrounds):
    """a at (2, 2), b over its lower right quarter, c apart on the right border."""
    plan, rendered = _render(backgrounds, _square("a", (2, 2)), _square("b", (4, 4)), _square("c", (0, 12)))
    (first, second, third), left_out = annotate(plan, rendered, min_visible_fraction=0.0)
    assert not left_out
    assert (first["category_id"], first["bbox"], first["area"]) == (10, [2, 2, 4, 4], 12)
    assert (second["category_id"], second["bbox"], second["area"]) == (11, [4, 4, 4, 4], 16)
    assert (third["category_id"], third["bbox"], third["area"]) == (12, [12, 0, 4, 4], 16)
    assert [a["iscrowd"] for a in (first, second, third)] == [0, 0, 0]
    assert [a["instance_id"] for a in (first, second, third)] == ["a", "b", "c"]
    mask = np.zeros((16, 16), bool)
    mask[2:6, 2:6] = True
    mask[4:6, 4:6] = False
    assert np.array_equal(coco_mask.decode(first["segmentation"]).astype(bool), mask)
    assert (rendered.image[mask] == 1).all() and (rendered.image[4:8, 4:8] == 2).all()
    assert (rendered.image[10:, :10] == 100).all()


def test_hidden_instance_has_no_annotation(backgrounds):
    plan, rendered = _render(backgrounds, _square("a", (2, 2)), _square("b", (2, 2)))
    visible, left_out = annotate(plan, rendered, 0.0)
    assert [a["instance_id"] for a in visible] == ["b"] and left_out == {"hidden": 1}


@pytest.mark.parametrize(("limit", "names"), [(0.75, ["a", "b"]), (0.76, ["b"])])
def test_visible_fraction_decides(backgrounds, limit, names):
    """12 of 16 pixels of a are visible: exactly 0.75."""
    plan, rendered = _render(backgrounds, _square("a", (2, 2)), _square("b", (4, 4)))
    visible, left_out = annotate(plan, rendered, limit)
    assert [a["instance_id"] for a in visible] == names and left_out == Counter(occluded=2 - len(names))


@pytest.mark.parametrize(
    ("top_left_yx", "area"),
    [((0, 0), 16), ((-1, 0), 12), ((-2, -2), 4), ((14, 15), 2), ((16, 3), 0), ((-9, 3), 0)],
)
def test_instance_is_clipped_to_the_image(backgrounds, top_left_yx, area):
    plan, rendered = _render(backgrounds, _square("a", top_left_yx))
    assert sum(a["area"] for a in annotate(plan, rendered, 0.0)[0]) == rendered.full_areas[0] == area


def test_more_than_255_instances_keep_their_labels(backgrounds):
    squares = [_square("a", (4 * (i // 20), 4 * (i % 20))) for i in range(300)]
    plan, rendered = _render(backgrounds, *squares, side_px=80)
    annotations, _ = annotate(plan, rendered, 0.0)
    assert len(annotations) == 300 and {a["area"] for a in annotations} == {16}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(-6, 18), st.integers(-6, 18), st.integers(2, 9), st.booleans()
        ),
        max_size=6,
    )
)
def test_masks_are_disjoint_and_boxes_tight(drawn):
    from xpaste_ray.backgrounds import Backgrounds

    class Grey(Backgrounds):
        def load(self, background_id):
            return np.full((32, 32, 3), 100, np.uint8)

    squares = [_square(name, (y, x), (size, size + 1), flip) for name, y, x, size, flip in drawn]
    plan, rendered = _render(Grey(None, (), ()), *squares)
    total = np.zeros((16, 16), int)
    visible, left_out = annotate(plan, rendered, 0.0)
    assert len(visible) + left_out.total() == len(drawn)
    for annotation in visible:
        mask = coco_mask.decode(annotation["segmentation"])
        total += mask
        assert annotation["area"] == mask.sum() > 0
        assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).astype(int).tolist()
    assert total.max(initial=0) <= 1


def test_alpha_is_blended(backgrounds):
    class SoftPool(SquarePool):
        def instance(self, row):
            return Instance("a", 10, np.full((4, 4, 3), 200, np.uint8), np.full((4, 4), 51, np.uint8))

    plan = PastePlan(0, "0.png", (0, 0, 32, 32), 16, (_square("a", (0, 0)),))
    rendered = render(plan, SoftPool(), backgrounds)
    assert (rendered.image[:4, :4] == 120).all()  # 0.2 x 200 + 0.8 x 100
    assert annotate(plan, rendered, 0.0)[0] == []  # below half opaque: no mask
