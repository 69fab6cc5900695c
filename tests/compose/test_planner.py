import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest, norm

from tests.backgrounds.material import square, write_dataset
from tests.compose.options import options
from xpaste_ray.backgrounds import Backgrounds, open_or_index, resolve_source
from xpaste_ray.compose.patch import make_patch, turned_size_hw
from xpaste_ray.compose.plan import PLANS, plan_from_row, plan_to_row
from xpaste_ray.compose.planner import Planner
from xpaste_ray.compose.render import render
from xpaste_ray.compose.views import copied_annotations, show_layers
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


@pytest.mark.parametrize("place", ["centre", "space-maximize"])
def test_plans_do_not_depend_on_what_was_planned_before(make_pool, annotated_backgrounds, place):
    """In any order, again and again, or by a planner that begins there."""
    size = "circle" if place == "space-maximize" else "image"
    changes = (*EVERYTHING, "copy_rule=both", f"size.rule={size}", f"place.rule={place}")
    arguments = (make_pool(COUNTS), annotated_backgrounds, options(*changes), 3)
    first = Planner(*arguments)
    plans = [first.plan(sample) for sample in range(12)]

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(0, 11), max_size=20), st.integers(0, 11))
    def check(before, sample):
        planner = Planner(*arguments)
        assert [planner.plan(number) for number in before] == [plans[number] for number in before]
        assert planner.plan(sample) == plans[sample]

    check()


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


def _open(folder, *counts):
    """Backgrounds of 64 x 64 px; `counts` are their numbers of objects, which cover 3 x 3 px each."""
    images = [{"id": n, "file_name": f"{n}.jpg", "height": 64, "width": 64} for n in range(len(counts))]
    owners = [image for image, count in enumerate(counts) for _ in range(count)]
    annotations = [
        {"id": n + 1, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": [n % 20 * 3, 4, 3, 3],
         "area": 9, "segmentation": [square(n % 20 * 3, 4, 3)]}
        for n, image in enumerate(owners)
    ]  # fmt: skip
    return open_or_index(resolve_source(write_dataset(folder, images, annotations)), folder / "cache")


@pytest.mark.parametrize("change", ["copy_rule=self", "copy_rule=p:0.5", "layout=reference"])
def test_rules_that_need_other_annotations_refuse_backgrounds_without(
    make_pool, backgrounds, change, tmp_path
):
    """None has annotations, or one, which cannot be another one to itself."""
    for found in (backgrounds, _open(tmp_path / "one", 5, 0, 0)):
        with pytest.raises(ConfigError, match="another annotated background.* at least two"):
            Planner(make_pool(COUNTS), found, options(change), 0)


def test_copied_objects_come_from_any_other_annotated_background(make_pool, tmp_path):
    """Of backgrounds 0, 2 and 3 with objects, and 1 without: each pair of two is as likely."""
    backgrounds = _open(tmp_path / "four", 60, 0, 60, 60)
    plans = _plans(make_pool(COUNTS), backgrounds, "copy_rule=self", count=1500)
    pairs = Counter((p.background_id, p.copied.background_id) for p in plans if p.copied)
    assert len(pairs) == 3 * 2 + 3 and all(own != other for own, other in pairs)
    for name in {own for own, _ in pairs}:
        assert chisquare([n for (own, _), n in pairs.items() if own == name]).pvalue > 1e-4


def test_up_to_99_objects_are_copied_and_each_number_is_as_likely(make_pool, tmp_path):
    """X-Paste's `self_copy`: of 150 objects 0 to 99, of 3 objects 0 to 3. 2,000 plans."""
    for objects, most in ((150, 99), (3, 3)):
        backgrounds = _open(tmp_path / str(objects), objects, objects)
        plans = _plans(make_pool(COUNTS, str(most)), backgrounds, "copy_rule=self", count=2000)
        numbers = [len(plan.copied.annotation_ids) if plan.copied else 0 for plan in plans]
        assert max(numbers) == most
        assert chisquare(np.bincount(numbers, minlength=most + 1)).pvalue > 1e-4


def test_pool_instances_are_the_same_whether_objects_are_copied_on_top_or_not(
    make_pool, annotated_backgrounds
):
    """X-Paste's `both`: relative to the background's own view, and the canvas grows afterwards."""
    pool = make_pool(COUNTS)
    changes = ("canvas={size_hw: [64, 48], fit: lsj, scale: [0.1, 2.0], flip_probability: 0.5}",)
    alone = _plans(pool, annotated_backgrounds, *changes, count=100)
    both = _plans(pool, annotated_backgrounds, *changes, "copy_rule=both", count=100)
    assert sum(plan.canvas_hw != plan.view.size_hw for plan in both) > 10
    assert [(p.placements, p.skipped) for p in both] == [(p.placements, p.skipped) for p in alone]
    assert _placements(both)


def test_backgrounds_in_turn_are_each_used_as_often(make_pool, annotated_backgrounds):
    """Twice the backgrounds, each twice: EM-Paste's code."""
    plans = _plans(make_pool(COUNTS), annotated_backgrounds, "background_draw=in-turn", count=6)
    assert [plan.background_id for plan in plans] == [annotated_backgrounds.id(row) for row in range(3)] * 2


def test_small_cutouts_are_left_out_and_counted(make_pool, annotated_backgrounds):
    """Discs of 16 x 16 and 18 x 18 px, and 300 px at least; by every rule of place and layout."""
    pool = make_pool({"banana": 2, "frog": 2, "lion": 2})
    pool.category_ids = np.array([1, 1, 18, 18, 44, 44])  # those of the backgrounds
    for changes in (("size.rule=image",), ("size.rule=circle", "place.rule=space-maximize"),
                    ("layout=reference",)):  # fmt: skip
        plans = _plans(pool, annotated_backgrounds, "size.min_cutout_area_px=300", *changes, count=60)
        assert "small_cutout" in {reason for plan in plans for reason in plan.skipped}
        placed = {pool.size_hw(pool.row_of_id[p.instance_id]) for p in _placements(plans)}
        assert placed == {(18, 18)}


def _shown_rectangle(pool, placement, mask_rate):
    """First and last row and column of what can be seen: ((y, y), (x, x))."""
    patch = make_patch(pool.instance(pool.row_of_id[placement.instance_id]).rgba, placement, mask_rate)
    return [(s + i.min(), s + i.max()) for s, i in zip(patch.top_left_yx, patch.alpha.nonzero(), strict=True)]


def test_inside_is_inside_at_any_angle_and_mask_rate(make_pool, backgrounds, monkeypatch):
    """Bars and their rectangles on 64 px; what is too large once it is turned is counted."""
    monkeypatch.setattr("tests.conftest.disc", _bar)
    pool, reasons = make_pool(COUNTS), Counter()

    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(0, 10**6),
        st.sampled_from([0, 30, 180]),
        st.sampled_from([0.3, 0.9, 1.1]),
        st.sampled_from([0.8, 1.0, 1.3, 2.0]),
    )
    def check(seed, rotation, factor, rate):
        changes = (f"rotation_deg={rotation}", f"size.factor=[0.1, {factor}]", f"mask_rate={rate}")
        plan = Planner(pool, backgrounds, options(*changes, "instances=[8, 8]"), seed).plan(0)
        reasons.update(("placed",) * len(plan.placements) + plan.skipped)
        assert len(plan.placements) + len(plan.skipped) == 8
        for placement in plan.placements:
            outer_hw = turned_size_hw(placement.size_hw, placement.angle_deg)
            for corner, side in zip(placement.top_left_yx, outer_hw, strict=True):
                assert corner >= 0 and corner + side <= 64
            for first, last in _shown_rectangle(pool, placement, rate):
                assert first >= 0 and last < 64

    check()
    assert reasons["placed"] and reasons["too_large"]


def test_sizes_follow_the_prior_from_end_to_end(make_pool, backgrounds, tmp_path):
    """sqrt(h x w) / side of 8,000 placements on 640 x 640: normal (0.2, 0.15) between the limits, and on
    them what lies beyond. Truncation takes up to two pixels."""
    table = tmp_path / "sizes.json"
    table.write_text(json.dumps({"overall": [0.2, 0.15]}))
    plans = _plans(
        make_pool(COUNTS),
        backgrounds,
        "canvas.size_hw=[640, 640]",
        f"size={{rule: prior, table: {table}}}",
        "place.rule=centre",
        "instances=[20, 20]",
        count=400,
    )
    shares = np.array([np.sqrt(p.size_hw[0] * p.size_hw[1]) / 640 for p in _placements(plans)])
    assert len(shares) == 8000 and not any(plan.skipped for plan in plans)
    pixel, (low, high) = 1 / 640, (10 / 640, 0.5)
    prior = norm(0.2, 0.15)
    assert shares.min() >= low - 2 * pixel and shares.max() <= high
    assert np.mean(shares <= low) == pytest.approx(prior.cdf(low), abs=0.015)
    assert np.mean(shares > high - 2 * pixel) == pytest.approx(prior.sf(high), abs=0.015)
    between = shares[(shares > 0.03) & (shares < 0.48)] + 0.75 * pixel  # what truncation takes on average
    edges = prior.cdf([0.03, 0.48])
    assert kstest(between, lambda x: (prior.cdf(x) - edges[0]) / np.ptp(edges)).pvalue > 1e-4


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
        other, layout = next(
            (row, found) for row, found in enumerate(layouts) if [c for c, _ in found] == categories
        )
        assert annotated_backgrounds.id(other) != plan.background_id
        for placement, (_, (_, _, width, height)) in zip(plan.placements, layout, strict=True):
            first = layout[0][1]
            scale = plan.placements[0].size_hw[0] / first[3]
            assert placement.size_hw == pytest.approx((height * scale, width * scale), abs=2)


def _bar(side_px, radius_px):
    """(S, S) bool, a bar from corner to corner of its rectangle: it touches its circle at the corners."""
    y, x = np.mgrid[:side_px, :side_px] - (side_px - 1) / 2
    return (abs(y) <= radius_px / 2) & (abs(x) <= radius_px)


@pytest.mark.parametrize("shape", ["disc", "bar"])
def test_space_maximize_never_overlaps(make_pool, annotated_backgrounds, monkeypatch, shape):
    """Nor does anything reach over the border, or over the background's own objects."""
    if shape == "bar":
        monkeypatch.setattr("tests.conftest.disc", _bar)
    pool, backgrounds = make_pool(COUNTS), annotated_backgrounds
    changes = ("size={rule: circle, min_side_px: 1}", "place.rule=space-maximize", "instances=[6, 6]")

    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(0, 10**6),
        st.sampled_from([0, 30, 180]),
        st.sampled_from(["pool", "both"]),
        st.sampled_from([0.8, 1.0, 1.1, 1.5, 2.0]),
    )
    def check(seed, rotation, copy_rule, rate):
        settings = options(
            *changes,
            f"rotation_deg={rotation}",
            f"copy_rule={copy_rule}",
            f"mask_rate={rate}",
            "canvas.fit=resize",
        )
        plan = Planner(pool, backgrounds, settings, seed).plan(0)
        assert len(plan.placements) + len(plan.skipped) == 6
        shown = np.zeros(plan.canvas_hw, int)
        row = backgrounds.row_of_id(plan.background_id)
        layers = list(show_layers(backgrounds.annotations(row), plan.view))
        if plan.copied:
            layers += show_layers(copied_annotations(plan.copied, backgrounds), plan.copied.view)
        for _, (mask, (top, left)) in layers:
            shown[top : top + mask.shape[0], left : left + mask.shape[1]] |= mask
        for placement in plan.placements:
            patch = make_patch(pool.instance(pool.row_of_id[placement.instance_id]).rgba, placement, rate)
            rows, columns = np.nonzero(patch.alpha)
            if not len(rows):  # a bar of a pixel, eroded
                continue
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


def test_circles_are_filled_by_their_factor(make_pool, backgrounds):
    """A factor of 0.5 halves what fills the circle, and a range is uniform, to half a pixel of 60."""
    changes = ("size.rule=circle", "place.rule=space-maximize", "instances=[1, 1]")
    pool = make_pool({"lion": 1})
    full, half, any_size = (
        [p.size_hw[0] for p in _placements(_plans(pool, backgrounds, *changes, change, count=1000))]
        for change in (
            "size.circle_factor=[1, 1]",
            "size.circle_factor=[0.5, 0.5]",
            "size.circle_factor=[0.25, 1.0]",
        )
    )
    (side,) = set(full)
    assert set(half) <= {side // 2, -(-side // 2)}
    assert kstest(any_size, "uniform", (side / 4, side * 3 / 4)).pvalue > 1e-4


def test_reference_layout_counts_categories_without_instances(make_pool, annotated_backgrounds):
    plans = _plans(make_pool(COUNTS), annotated_backgrounds, "layout=reference", count=10)
    assert not _placements(plans)
    assert {reason for plan in plans for reason in plan.skipped} == {"no_instance_of_category"}


def test_planning_needs_no_pixels_of_backgrounds(make_pool, annotated_backgrounds, monkeypatch):
    monkeypatch.setattr(Backgrounds, "load", lambda *_: pytest.fail("a plan read pixels"))
    _plans(make_pool(COUNTS), annotated_backgrounds, *EVERYTHING, "copy_rule=both", count=10)


@pytest.mark.parametrize("pad", [True, False])
def test_small_views_are_padded_unless_told_otherwise(make_pool, backgrounds, pad):
    """A photograph of 32 x 48 px at half of what fits 64 x 64: 21 x 32 px, on the top left."""
    canvas = f"canvas={{size_hw: [64, 64], fit: lsj, scale: [0.5, 0.5], flip_probability: 0, pad: {pad}}}"
    pool = make_pool(COUNTS)
    plan = Planner(pool, backgrounds, options(canvas, "place.rule=centre"), seed=0).plan(0)
    assert plan.view.size_hw == (21, 32) and plan.canvas_hw == ((64, 64) if pad else (21, 32))
    image = render(plan, pool, backgrounds).image
    assert image.shape[:2] == plan.canvas_hw and not image[21:].any() and not image[:, 32:].any()
