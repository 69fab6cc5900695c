from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compose.pools import pixels, write_pool
from xpaste_ray.compose.annotate import annotate
from xpaste_ray.compose.occlusion import STAYS
from xpaste_ray.compose.plan import PastePlan, Placement, View
from xpaste_ray.compose.render import render
from xpaste_ray.config import OcclusionSettings, OutputSettings
from xpaste_ray.masks import BoxXYWH, tight_box_xywh


class Extent(NamedTuple):
    area: int
    box_xywh: BoxXYWH


FULL = Extent(1000, (0, 0, 40, 40))


@pytest.mark.parametrize(
    ("visible", "stays"),
    [
        pytest.param(Extent(100, (0, 0, 40, 30)), True, id="box-moved-10"),
        pytest.param(Extent(300, (0, 0, 40, 29)), False, id="box-moved-11-and-300-px"),
        pytest.param(Extent(301, (20, 20, 5, 5)), True, id="301-px"),
        pytest.param(Extent(1, (5, 5, 30, 30)), True, id="one-pixel-in-a-box-that-stayed"),
    ],
)
def test_xpaste_rule(visible, stays):
    assert STAYS["xpaste"](FULL, visible, OcclusionSettings(rule="xpaste")) is stays


@pytest.mark.parametrize(("area", "stays"), [(250, True), (249, False)])
def test_visible_fraction_rule(area, stays):
    rule = OcclusionSettings(rule="visible-fraction", min_visible_fraction=0.25)
    assert STAYS["visible-fraction"](FULL, Extent(area, FULL.box_xywh), rule) is stays


def _extent(mask):
    return Extent(int(mask.sum()), tight_box_xywh(mask))


@st.composite
def _covered(draw):
    """A mask on 60 x 60 px, and what rectangles leave of it; something is left."""
    mask = np.zeros((60, 60), bool)
    corners, sides = st.integers(0, 59), st.integers(1, 60)
    for _ in range(draw(st.integers(1, 2))):
        y, x = draw(corners), draw(corners)
        mask[y : y + draw(sides), x : x + draw(sides)] = True
    left = mask.copy()
    for _ in range(draw(st.integers(0, 3))):
        y, x = draw(corners), draw(corners)
        cut = left.copy()
        cut[y : y + draw(sides), x : x + draw(sides)] = False
        left = cut if cut.any() else left
    return mask, left


@given(_covered())
def test_xpaste_rule_is_that_of_the_corners_of_the_masks(case):
    """First and last rows and columns moved by 10 at most, or more than 300 pixels left."""
    mask, left = case
    edges = [
        [np.flatnonzero(m.any(axis=axis))[end] for axis in (0, 1) for end in (0, -1)] for m in (mask, left)
    ]
    moved = np.abs(np.subtract(*edges)).max()
    stays = STAYS["xpaste"](_extent(mask), _extent(left), OcclusionSettings(rule="xpaste"))
    assert stays == (moved <= 10 or left.sum() > 300)


@given(_covered(), st.integers(0, 64), st.integers(0, 64))
def test_visible_fraction_rule_is_monotonous(case, limit, other):
    """All of it always stays, any of it stays at 0, and who stays at a limit stays at a lower one."""
    full, visible = map(_extent, case)
    low, high = (
        OcclusionSettings(rule="visible-fraction", min_visible_fraction=value / 64)
        for value in sorted((limit, other))
    )
    rule = STAYS["visible-fraction"]
    assert rule(full, full, high) and rule(full, visible, OcclusionSettings(rule="visible-fraction"))
    assert rule(full, visible, low) >= rule(full, visible, high)
    assert rule(full, visible, low) == (case[1].sum() / case[0].sum() >= low.min_visible_fraction)


RULES = st.one_of(
    st.just(OcclusionSettings(rule="xpaste")),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]).map(
        lambda limit: OcclusionSettings(rule="visible-fraction", min_visible_fraction=limit)
    ),
)
MARGIN = 40  # around the canvas: no square reaches further


def test_annotations_are_those_of_a_full_canvas_with_a_margin(tmp_path, backgrounds):
    """Rectangles of up to 40 px that may hang over the border, painted on masks of the whole scene."""
    pool = write_pool(tmp_path / "pool", {"a": pixels(4, 4, 1)})
    sides, corners = st.integers(1, 40), st.integers(-39, 47)
    scenes = st.lists(st.tuples(sides, sides, corners, corners), max_size=7)
    inside = np.s_[MARGIN : MARGIN + 48, MARGIN : MARGIN + 48]

    @settings(max_examples=150, deadline=None)
    @given(scenes, RULES)
    def check(scene, rule):
        masks = []
        for height, width, y, x in scene:
            mask = np.zeros((48 + 2 * MARGIN, 48 + 2 * MARGIN), bool)
            mask[MARGIN + y : MARGIN + y + height, MARGIN + x : MARGIN + x + width] = True
            masks.append(mask)
        expected = []
        for number, mask in enumerate(masks):
            above = np.any(masks[number + 1 :], axis=0) if masks[number + 1 :] else np.zeros_like(mask)
            clipped, visible = mask[inside], (mask & ~above)[inside]
            if not visible.any():
                continue
            whole = Extent(int(mask.sum()), tight_box_xywh(clipped))
            if STAYS[rule.rule](whole, _extent(visible), rule):
                fraction = visible.sum() / mask.sum()
                expected.append((number + 1, visible.sum(), tight_box_xywh(visible), fraction))
        placements = tuple(Placement("a", 45, (h, w), (y, x)) for h, w, y, x in scene)
        view = View((0, 0, 32, 32), (48, 48), False)
        plan = PastePlan(0, "0.png", view, (48, 48), placements, occlusion=rule)
        output = OutputSettings(formats=("coco",))
        sample, left_out = annotate(plan, render(plan, pool, backgrounds), pool, backgrounds, output)
        assert [(a.z_order, a.area, a.bbox, a.visible_fraction) for a in sample.annotations] == expected
        assert len(expected) + left_out.total() == len(scene)

    check()
