"""One sample is the same in any company, from any settings, again from its plan alone."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compose.options import options
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.plan import PLANS, PastePlan, View, plan_from_row, plan_to_row
from xpaste_ray.errors import ConfigError

EVERYTHING = (
    "copy_rule=both",
    "instances=[2, 6]",
    "blend=[hard, alpha, gaussian, box, motion, poisson]",
    "canvas={size_hw: [48, 64], fit: lsj, scale: [0.3, 2.0], flip_probability: 0.5}",
    "size={rule: image, factor: [0.1, 0.6], min_side_px: 2}",
)


def _compositor(pool, backgrounds, *changes, seed=0):
    return Compositor(pool, backgrounds, options(*EVERYTHING, *changes), seed)


def _same(first, second):
    return (
        np.array_equal(first.image, second.image)
        and first.sample == second.sample
        and first.counts == second.counts
    )


@pytest.mark.parametrize("rule", ["{rule: visible-fraction, min_visible_fraction: 0.9}", "{rule: xpaste}"])
def test_plan_alone_decides_also_what_stays(make_pool, annotated_backgrounds, rule):
    """Rendered with settings of another occlusion rule, after a round trip through Parquet."""
    pool = make_pool({"banana": 3, "lion": 2})
    planned = _compositor(pool, annotated_backgrounds, f"occlusion={rule}")
    other = _compositor(pool, annotated_backgrounds, "occlusion={rule: visible-fraction}", seed=9)
    plans = [planned.plan(sample) for sample in range(12)]
    table = pa.Table.from_pylist([plan_to_row(plan) for plan in plans], schema=PLANS)
    occluded = 0
    for plan, row in zip(plans, table.to_pylist(), strict=True):
        assert plan_from_row(row) == plan
        expected = planned.render(plan)
        assert _same(other.render(plan_from_row(row)), expected)
        occluded += expected.counts["occluded"]
    assert occluded or "xpaste" in rule  # small objects hardly move: theirs stay


def test_plan_of_an_earlier_version_is_an_error():
    row = plan_to_row(PastePlan(5, "a.jpg", View((0, 0, 4, 4), (4, 4), False), (4, 4), ()))
    with pytest.raises(ConfigError, match="sample 5 lacks the occlusion rule.*write the plans again"):
        plan_from_row(row | {"occlusion": None})


def test_order_and_groups_do_not_matter(make_pool, annotated_backgrounds, monkeypatch):
    """Any order, with repetitions, in one call of `render_all` or two, one canvas or several at a time."""
    pool = make_pool({"banana": 3, "lion": 2})
    used = _compositor(pool, annotated_backgrounds)
    expected = [_compositor(pool, annotated_backgrounds).compose(sample) for sample in range(6)]

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.data())
    def check(samples, data):
        cut = data.draw(st.integers(0, len(samples)))
        pixels = data.draw(st.sampled_from([1, 3 * 48 * 64, 10**6]))
        monkeypatch.setattr("xpaste_ray.compose.compositor._GROUP_PIXELS", pixels)
        for part in (samples[:cut], samples[cut:]):
            found = used.render_all([used.plan(sample) for sample in part])
            for sample, composed in zip(part, found, strict=True):
                assert _same(composed, expected[sample])

    check()


def test_with_another_seed_it_is_as_if_made_with_it(make_pool, annotated_backgrounds):
    """And the first one is as it was, also where circles and size tables are shared."""
    pool = make_pool({"banana": 3, "lion": 2})
    for changes in ((), ("size.rule=circle", "place.rule=space-maximize", "blend=[hard]")):
        one = Compositor(pool, annotated_backgrounds, options(*changes), 1)
        before = [one.compose(sample) for sample in range(4)]
        other = one.with_seed(2)
        expected = Compositor(pool, annotated_backgrounds, options(*changes), 2)
        assert all(_same(other.compose(sample), expected.compose(sample)) for sample in range(4))
        assert all(_same(one.compose(sample), found) for sample, found in enumerate(before))
        assert not all(_same(other.compose(sample), found) for sample, found in enumerate(before))


def test_only_named_categories_are_pasted(make_pool, backgrounds):
    pool = make_pool({"banana": 3, "lion": 2})
    (lion,) = {category.id for category in pool.categories if category.name == "lion"}
    compositor = Compositor(pool, backgrounds, options("instances=[4, 4]", "categories=[lion]"), 0)
    placements = [one for sample in range(5) for one in compositor.plan(sample).placements]
    assert len(placements) > 10 and {one.category_id for one in placements} == {lion}
