import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compose.options import options
from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.compose.patch import make_patch
from xpaste_ray.compose.plan import PLANS, plan_from_row, plan_to_row
from xpaste_ray.compose.planner import Planner
from xpaste_ray.compose.views import copied_annotations, show_masks
from xpaste_ray.errors import ConfigError

COUNTS = {"banana": 2, "lion": 3}
EVERYTHING = (
    "blend=[hard, alpha, gaussian, box, motion, poisson]",
    "rotation_deg=30",
    "colour.jitter=[0.2, 0.2, 0.2, 0.2]",
    "colour.match=[0.2, 0.2]",
    "mask_rate=1.1",
    "place.rule=centre",
    "canvas={size_hw: [64, 48], fit: lsj, scale: [0.5, 2.0], flip_probability: 0.5}",
)


def _plans(pool, backgrounds, *changes, count=200, seed=0):
    planner = Planner(pool, backgrounds, options(*changes), seed)
    return [planner.plan(sample) for sample in range(count)]


def _placements(plans):
    return [placement for plan in plans for placement in plan.placements]


def test_sample_depends_on_seed_and_number_alone(make_pool, backgrounds):
    pool = make_pool(COUNTS)
    plans = _plans(pool, backgrounds, *EVERYTHING)
    assert Planner(pool, backgrounds, options(*EVERYTHING), 0).plan(17) == plans[17]
    assert Planner(pool, backgrounds, options(*EVERYTHING), 1).plan(17) != plans[17]
    assert plans[16].placements != plans[17].placements


def test_plans_survive_parquet(make_pool, annotated_backgrounds, tmp_path):
    plans = _plans(make_pool(COUNTS), annotated_backgrounds, *EVERYTHING, "copy_rule=both", count=40)
    assert any(plan.copied for plan in plans) and any(plan.skipped for plan in plans)
    table = pa.Table.from_pylist([plan_to_row(plan) for plan in plans], schema=PLANS)
    pq.write_table(table, tmp_path / "plans.parquet")
    rows = pq.read_table(tmp_path / "plans.parquet").to_pylist()
    assert [plan_from_row(row) for row in rows] == plans


def test_every_decision_stays_in_its_range(make_pool, backgrounds):
    """Canvas 64 px, size 0.15 to 0.45 of it, 1 to 8 instances, wholly inside."""
    plans = _plans(make_pool(COUNTS), backgrounds)
    assert {len(plan.placements) + len(plan.skipped) for plan in plans} == set(range(1, 9))
    assert {plan.background_id for plan in plans} == {"0.png", "1.png"}
    for plan in plans:
        left, top, width, height = plan.view.crop_xywh
        assert width == height >= 16 and 0 <= left <= 48 - width and 0 <= top <= 32 - height
        for placement in plan.placements:
            assert 9 <= max(placement.size_hw) <= 29
            assert all(
                c >= 0 and c + s <= 64 for c, s in zip(placement.top_left_yx, placement.size_hw, strict=True)
            )


def test_categories_are_balanced_whatever_their_counts(make_pool, backgrounds):
    """One banana, nine lions: half and half. 4,000 draws, so 5 standard deviations are 160."""
    plans = _plans(make_pool({"banana": 1, "lion": 9}), backgrounds, "instances=[20, 20]")
    drawn = [placement.category_id for placement in _placements(plans)]
    assert len(drawn) == 4000 and abs(drawn.count(45) - 2000) < 160


def test_flips_and_angles_follow_their_settings(make_pool, backgrounds):
    pool = make_pool({"banana": 1})
    for probability in (0, 1):
        plans = _plans(pool, backgrounds, f"flip_probability={probability}", count=20)
        assert {placement.flip for placement in _placements(plans)} == {bool(probability)}
    angles = [p.angle_deg for p in _placements(_plans(pool, backgrounds, "rotation_deg=30"))]
    assert min(angles) < -25 and max(angles) > 25 and max(map(abs, angles)) <= 30
    assert {p.angle_deg for p in _placements(_plans(pool, backgrounds, count=20))} == {0.0}


def test_each_blend_of_the_list_is_drawn_alike(make_pool, backgrounds):
    plans = _plans(make_pool(COUNTS), backgrounds, "blend=[hard, motion]", "instances=[8, 8]")
    placements = _placements(plans)
    assert abs(sum(p.blend == "hard" for p in placements) - 800) < 5 * 20
    lengths = {p.motion[0] for p in placements if p.motion}
    assert lengths == {3, 5, 7, 9} and all((p.motion is None) == (p.blend == "hard") for p in placements)


def test_colours_change_with_their_probability_and_within_their_limits(make_pool, backgrounds):
    plans = _plans(make_pool(COUNTS), backgrounds, "colour.jitter=[0.2, 0.1, 0, 0]", "instances=[8, 8]")
    colours = [p.colour for p in _placements(plans)]
    changed = [colour for colour in colours if colour]
    assert abs(len(changed) - 800) < 5 * 20
    assert all(abs(c.brightness - 1) <= 0.2 and abs(c.contrast - 1) <= 0.1 for c in changed)
    assert {(c.saturation, c.hue) for c in changed} == {(1.0, 0.0)}


def test_centres_lie_everywhere_on_the_canvas(make_pool, backgrounds):
    plans = _plans(make_pool(COUNTS), backgrounds, "place.rule=centre", "instances=[8, 8]")
    centres = np.array(
        [[c + s // 2 for c, s in zip(p.top_left_yx, p.size_hw, strict=True)] for p in _placements(plans)]
    )
    assert centres.min() == 0 and centres.max() == 63
    assert np.abs(np.histogram(centres, bins=4, range=(0, 64))[0] - 800).max() < 5 * np.sqrt(3200 * 3 / 16)


def test_what_is_cut_too_much_is_counted(make_pool, backgrounds):
    changes = ("place={rule: centre, min_inside_fraction: 0.9}", "instances=[8, 8]")
    plans = _plans(make_pool(COUNTS), backgrounds, *changes, count=50)
    skipped = [reason for plan in plans for reason in plan.skipped]
    assert len(_placements(plans)) + len(skipped) == 400 and set(skipped) == {"cut_by_border"}


def test_sizes_that_do_not_fit_are_counted(make_pool, backgrounds):
    """Discs of 16 to 20 px at factor 0.2 are at most 4 px, at factor 4 at least 64 px."""
    pool = make_pool(COUNTS)
    for factor, reason in ((0.2, "too_small"), (4.0, "too_large")):
        plans = _plans(pool, backgrounds, f"size={{rule: object, factor: [{factor}, {factor}]}}", count=5)
        assert not _placements(plans) and {r for plan in plans for r in plan.skipped} == {reason}


def test_empty_pool_is_an_error(make_pool, backgrounds):
    with pytest.raises(ConfigError, match="the pool is empty"):
        Planner(make_pool({}), backgrounds, options(), 0)


@pytest.mark.parametrize("change", ["copy_rule=self", "copy_rule=p:0.5", "layout=reference"])
def test_rules_that_need_annotations_refuse_plain_backgrounds(make_pool, backgrounds, change):
    with pytest.raises(ConfigError, match="annotated"):
        Planner(make_pool(COUNTS), backgrounds, options(change), 0)


@pytest.mark.parametrize(
    ("rule", "pasted", "copied"),
    [
        ("pool", True, False),
        ("self", False, True),
        ("both", True, True),
        ("p:0", True, False),
        ("p:1", False, True),
    ],
)
def test_copy_rules(make_pool, annotated_backgrounds, rule, pasted, copied):
    plans = _plans(make_pool(COUNTS), annotated_backgrounds, f"copy_rule={rule}", count=60)
    assert any(plan.placements for plan in plans) is pasted
    assert any(plan.copied for plan in plans) is copied


def test_copy_rule_with_a_probability_takes_either(make_pool, annotated_backgrounds):
    plans = _plans(make_pool(COUNTS), annotated_backgrounds, "copy_rule=p:0.5", count=400)
    assert not any(plan.placements and plan.copied for plan in plans)
    assert abs(sum(bool(plan.placements) for plan in plans) - 200) < 5 * 10


def test_reference_layout_follows_the_boxes_of_one_background(make_pool, annotated_backgrounds):
    """Every placement fills a box of the reference, all scaled and moved alike."""
    pool = make_pool({"banana": 2, "frog": 2, "lion": 2})
    pool.category_ids = np.array([1, 1, 18, 18, 44, 44])  # those of the backgrounds
    plans = _plans(
        pool, annotated_backgrounds, "layout=reference", "size={rule: image, min_side_px: 1}", count=30
    )
    assert _placements(plans)
    layouts = []
    for row in range(len(annotated_backgrounds)):
        boxes = [a for a in annotated_backgrounds.annotations(row) if not a.iscrowd]
        layouts.append([(a.category_id, a.bbox_xywh) for a in boxes])
    for plan in plans:
        categories = [p.category_id for p in plan.placements]
        layout = next(found for found in layouts if [c for c, _ in found] == categories)
        for placement, (_, (_, _, width, height)) in zip(plan.placements, layout, strict=True):
            first = layout[0][1]
            scale = plan.placements[0].size_hw[0] / first[3]
            assert placement.size_hw == pytest.approx((height * scale, width * scale), abs=2)


def test_space_maximize_never_overlaps(make_pool, annotated_backgrounds):
    """Nor does anything reach over the border, or over the background's own objects."""
    pool, backgrounds = make_pool(COUNTS), annotated_backgrounds
    changes = ("size={rule: circle, min_side_px: 3}", "place.rule=space-maximize", "instances=[6, 6]")

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10**6), st.sampled_from([0, 30, 180]), st.sampled_from(["pool", "both"]))
    def check(seed, rotation, copy_rule):
        settings = options(
            *changes, f"rotation_deg={rotation}", f"copy_rule={copy_rule}", "canvas.fit=resize"
        )
        plan = Planner(pool, backgrounds, settings, seed).plan(0)
        assert len(plan.placements) + len(plan.skipped) == 6
        shown = np.zeros(plan.canvas_hw, int)
        row = backgrounds.row_of_id(plan.background_id)
        for _, mask in show_masks(backgrounds.annotations(row), plan.view):
            shown |= mask
        if plan.copied:
            for _, mask in show_masks(copied_annotations(plan.copied, backgrounds), plan.copied.view):
                shown |= mask
        for placement in plan.placements:
            patch = make_patch(pool.instance(pool.row_of_id[placement.instance_id]).rgba, placement, 1.0)
            rows, columns = np.nonzero(patch.alpha)
            rows, columns = rows + patch.top_left_yx[0], columns + patch.top_left_yx[1]
            assert rows.min() >= 0 and columns.min() >= 0 and rows.max() < 64 and columns.max() < 64
            shown[rows, columns] += 1
        assert shown.max() <= 1

    check()


def test_first_of_space_maximize_fills_an_empty_canvas(make_pool, backgrounds):
    """A disc on 64 x 64: its circle is the canvas', but for the margin and the corners of pixels."""
    changes = ("size={rule: circle, min_side_px: 3}", "place.rule=space-maximize", "instances=[1, 1]")
    for plan in _plans(make_pool({"lion": 1}), backgrounds, *changes, count=5):
        (placement,) = plan.placements
        assert 50 <= placement.size_hw[0] <= 62
        assert abs(placement.top_left_yx[0] + placement.size_hw[0] / 2 - 32) <= 1


def test_reference_layout_counts_categories_without_instances(make_pool, annotated_backgrounds):
    plans = _plans(make_pool(COUNTS), annotated_backgrounds, "layout=reference", count=10)
    assert not _placements(plans)
    assert {reason for plan in plans for reason in plan.skipped} == {"no_instance_of_category"}


def test_planning_needs_no_pixels_of_backgrounds(make_pool, annotated_backgrounds, monkeypatch):
    monkeypatch.setattr(Backgrounds, "load", lambda *_: pytest.fail("a plan read pixels"))
    _plans(make_pool(COUNTS), annotated_backgrounds, *EVERYTHING, "copy_rule=both", count=10)
