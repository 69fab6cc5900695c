import pytest

from xpaste_ray.compose.occlusion import STAYS, Extent
from xpaste_ray.config import OcclusionSettings

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
