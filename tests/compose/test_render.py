"""Golden images small enough to check by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.compose.options import options
from xpaste_ray.compose.annotate import annotate
from xpaste_ray.compose.plan import Copied, PastePlan, Placement, View
from xpaste_ray.compose.render import render
from xpaste_ray.config import OcclusionSettings, OutputSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.pool import Instance

WHOLE = View((0, 0, 32, 32), (16, 16), False)
OUTPUT = OutputSettings(formats=("coco",))


class SquarePool:
    """Stands for a pool of three 4 x 4 squares, "a", "b" and "c", grey 1, 2 and 3."""

    folder = "pool"
    alpha = 255
    row_of_id = {"a": 0, "b": 1, "c": 2}  # noqa: RUF012

    def instance(self, row):
        rgba = np.full((4, 4, 4), row + 1, np.uint8)
        rgba[..., 3] = self.alpha
        return Instance("abc"[row], row + 10, rgba)

    def provenance(self, row):
        return {"text": f"a photo of {'abc'[row]}"}


def _square(name, top_left_yx, size_hw=(4, 4), **changes):
    return Placement(name, "abc".index(name) + 10, size_hw, top_left_yx, **changes)


def _plan(*placements, side_px=16, **changes):
    view = View((0, 0, 32, 32), (side_px, side_px), False)
    return PastePlan(0, "0.png", view, (side_px, side_px), placements, **changes)


def _composed(backgrounds, *placements, output=OUTPUT, pool=None, plan=None, **changes):
    """The painted plan, its sample and what was left out."""
    pool, plan = pool or SquarePool(), plan or _plan(*placements, **changes)
    rendered = render(plan, pool, backgrounds)
    return rendered, *annotate(plan, rendered, pool, backgrounds, output)


def test_three_squares_every_number(backgrounds):
    """a at (2, 2), b over its lower right quarter, c apart on the right border."""
    rendered, sample, left_out = _composed(
        backgrounds, _square("a", (2, 2)), _square("b", (4, 4)), _square("c", (0, 12))
    )
    first, second, third = sample.annotations
    assert not left_out and (sample.index, sample.height, sample.width) == (0, 16, 16)
    assert (first.category_id, first.bbox, first.area, first.visible_fraction) == (10, (2, 2, 4, 4), 12, 0.75)
    assert (second.category_id, second.bbox, second.area, second.visible_fraction) == (
        11,
        (4, 4, 4, 4),
        16,
        1,
    )
    assert (third.category_id, third.bbox, third.area, third.visible_fraction) == (12, (12, 0, 4, 4), 16, 1)
    assert [(a.source_id, a.origin, a.z_order, a.iscrowd) for a in sample.annotations] == [
        ("a", "pool", 1, 0),
        ("b", "pool", 2, 0),
        ("c", "pool", 3, 0),
    ]
    mask = np.zeros((16, 16), bool)
    mask[2:6, 2:6] = True
    mask[4:6, 4:6] = False
    assert np.array_equal(coco_mask.decode(first.segmentation).astype(bool), mask)
    assert (rendered.image[mask] == 1).all() and (rendered.image[4:8, 4:8] == 2).all()
    assert (rendered.image[10:, :10] == 100).all()
    assert sample.background_id == "0.png" and sample.neg_category_ids is None


def test_amodal_masks_and_provenance_on_request(backgrounds):
    output = OutputSettings(formats=("coco",), amodal=True, provenance=True)
    _, sample, _ = _composed(backgrounds, _square("a", (2, 2)), _square("b", (4, 4)), output=output)
    first = sample.annotations[0]
    assert coco_mask.area(first.amodal) == 16 and coco_mask.area(first.segmentation) == 12
    assert first.provenance == {"text": "a photo of a"}
    _, plain, _ = _composed(backgrounds, _square("a", (2, 2)))
    assert plain.annotations[0].amodal is None and plain.annotations[0].provenance is None


def test_hidden_instance_has_no_annotation(backgrounds):
    _, sample, left_out = _composed(backgrounds, _square("a", (2, 2)), _square("b", (2, 2)))
    assert [a.source_id for a in sample.annotations] == ["b"] and left_out == {"hidden": 1}


@pytest.mark.parametrize(("limit", "names"), [(0.75, ["a", "b"]), (0.76, ["b"])])
def test_visible_fraction_decides(backgrounds, limit, names):
    """12 of 16 pixels of a are visible: exactly 0.75."""
    rule = OcclusionSettings(rule="visible-fraction", min_visible_fraction=limit)
    _, sample, left_out = _composed(backgrounds, _square("a", (2, 2)), _square("b", (4, 4)), occlusion=rule)
    assert [a.source_id for a in sample.annotations] == names
    assert left_out == Counter(occluded=2 - len(names))


def test_xpaste_rule_keeps_what_its_box_hardly_lost(backgrounds):
    """Small objects lose at most 10 px: they stay as long as anything is left of them."""
    rule = OcclusionSettings(rule="xpaste")
    _, sample, left_out = _composed(
        backgrounds, _square("a", (2, 2)), _square("b", (2, 3)), _square("c", (2, 3)), occlusion=rule
    )
    assert [(a.source_id, a.area) for a in sample.annotations] == [("a", 4), ("c", 16)]
    assert left_out == {"hidden": 1}


@pytest.mark.parametrize(
    ("top_left_yx", "area"),
    [((0, 0), 16), ((-1, 0), 12), ((-2, -2), 4), ((14, 15), 2), ((16, 3), 0), ((-9, 3), 0)],
)
@pytest.mark.parametrize("blend", ["hard", "alpha", "gaussian", "motion", "poisson"])
def test_instance_is_clipped_to_the_image(backgrounds, top_left_yx, area, blend):
    motion = (9, 20.0) if blend == "motion" else None
    square = _square("a", top_left_yx, blend=blend, motion=motion)
    _, sample, left_out = _composed(backgrounds, square)
    assert sum(a.area for a in sample.annotations) == area
    assert left_out == Counter(empty_mask=int(area == 0))


def test_instance_larger_than_the_canvas_fills_it(backgrounds):
    rendered, sample, _ = _composed(backgrounds, _square("a", (-10, -10), (40, 40)))
    assert (rendered.image == 1).all() and sample.annotations[0].bbox == (0, 0, 16, 16)


def test_transparent_instance_is_counted_and_not_annotated(backgrounds):
    pool = SquarePool()
    pool.alpha = 51
    rendered, sample, left_out = _composed(backgrounds, _square("a", (0, 0)), pool=pool)
    assert (rendered.image[:4, :4] == 80).all()  # 0.2 x 1 + 0.8 x 100
    assert not sample.annotations and left_out == {"empty_mask": 1}  # below half opaque: no mask


def test_more_than_255_instances_keep_their_masks(backgrounds):
    squares = [_square("a", (4 * (i // 20), 4 * (i % 20))) for i in range(300)]
    _, sample, _ = _composed(backgrounds, *squares, side_px=80)
    assert len(sample.annotations) == 300 and {a.area for a in sample.annotations} == {16}


def test_plan_of_another_pool_is_an_error(backgrounds):
    with pytest.raises(ConfigError, match="instance z"):
        render(_plan(Placement("z", 1, (4, 4), (0, 0))), SquarePool(), backgrounds)


def test_view_smaller_than_the_canvas_leaves_black(backgrounds):
    plan = PastePlan(0, "0.png", View((0, 0, 48, 32), (8, 12), False), (16, 16), ())
    image = render(plan, SquarePool(), backgrounds).image
    assert (image[:8, :12] == 100).all() and not image[8:].any() and not image[:, 12:].any()


def test_masks_are_disjoint_and_boxes_tight(backgrounds):
    drawn = st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(-6, 18), st.integers(-6, 18), st.integers(2, 9),
            st.booleans(),
            st.sampled_from([0.0, 30.0, 90.0]), st.sampled_from(["hard", "alpha", "box"]),
        ),
        max_size=6,
    )  # fmt: skip

    @settings(max_examples=60, deadline=None)
    @given(drawn)
    def check(drawn):
        squares = [
            _square(name, (y, x), (size, size + 1), flip=flip, angle_deg=angle, blend=blend)
            for name, y, x, size, flip, angle, blend in drawn
        ]
        rendered, sample, left_out = _composed(backgrounds, *squares)
        total = np.zeros((16, 16), int)
        assert len(sample.annotations) + left_out.total() == len(drawn)
        for annotation in sample.annotations:
            mask = coco_mask.decode(annotation.segmentation)
            total += mask
            assert annotation.area == mask.sum() > 0
            assert annotation.bbox == tuple(coco_mask.toBbox(annotation.segmentation).astype(int))
            assert 0 < annotation.visible_fraction <= 1
        painted = np.zeros((16, 16), bool)
        for (y, x), mask in ((p.layer.top_left_yx, p.layer.mask) for p in rendered.painted):
            painted[y : y + mask.shape[0], x : x + mask.shape[1]] |= mask.astype(bool)
        assert np.array_equal(total, painted)

    check()


def _object(backgrounds, row, number=0):
    return [a for a in backgrounds.annotations(row) if not a.iscrowd][number]


def _whole_view(backgrounds, row, flip=False):
    height, width = backgrounds.size_hw(row)
    return View((0, 0, width, height), (height, width), flip)


def test_annotations_of_the_background_survive_where_nothing_covers_them(annotated_backgrounds):
    """In an unchanged view they are what they were, the crowd too."""
    for row in range(len(annotated_backgrounds)):
        view = _whole_view(annotated_backgrounds, row)
        plan = PastePlan(0, annotated_backgrounds.id(row), view, view.size_hw, ())
        _, sample, left_out = _composed(annotated_backgrounds, plan=plan)
        expected = annotated_backgrounds.annotations(row)
        assert not left_out
        assert [(a.category_id, a.bbox, a.area, a.iscrowd) for a in sample.annotations] == [
            (a.category_id, a.bbox_xywh, a.area, a.iscrowd) for a in expected
        ]
        for annotation, original in zip(sample.annotations, expected, strict=True):
            assert np.array_equal(coco_mask.decode(annotation.segmentation), coco_mask.decode(original.rle))
            assert (annotation.origin, annotation.z_order) == ("background", 0)
            assert annotation.source_id == f"{sample.background_id}#{original.id}"


def test_pasting_over_an_object_of_the_background_hides_that_part(annotated_backgrounds):
    row = int(annotated_backgrounds.annotated_rows[0])
    view = _whole_view(annotated_backgrounds, row)
    original = _object(annotated_backgrounds, row)
    x, y, _, _ = original.bbox_xywh
    square = _square("a", (y, x), (3, 3))
    plan = PastePlan(0, annotated_backgrounds.id(row), view, view.size_hw, (square,))
    _, sample, _ = _composed(annotated_backgrounds, plan=plan)
    full = coco_mask.decode(original.rle)
    full[y : y + 3, x : x + 3] = 0
    assert np.array_equal(coco_mask.decode(sample.annotations[0].segmentation), full)
    assert sample.annotations[-1].area == 9


def test_mirrored_view_mirrors_the_masks(annotated_backgrounds):
    row = int(annotated_backgrounds.annotated_rows[0])
    view = _whole_view(annotated_backgrounds, row, flip=True)
    plan = PastePlan(0, annotated_backgrounds.id(row), view, view.size_hw, ())
    rendered, sample, _ = _composed(annotated_backgrounds, plan=plan)
    expected = coco_mask.decode(annotated_backgrounds.annotations(row)[0].rle)[:, ::-1]
    assert np.array_equal(coco_mask.decode(sample.annotations[0].segmentation), expected)
    assert np.array_equal(rendered.image, annotated_backgrounds.load(row)[:, ::-1])


def test_copied_object_keeps_its_place_its_pixels_and_its_mask(annotated_backgrounds):
    source, target = (int(row) for row in annotated_backgrounds.annotated_rows[:2])
    original = _object(annotated_backgrounds, source)
    views = [_whole_view(annotated_backgrounds, row) for row in (target, source)]
    canvas_hw = tuple(map(max, *(view.size_hw for view in views)))
    copied = Copied(annotated_backgrounds.id(source), views[1], (original.id,))
    plan = PastePlan(0, annotated_backgrounds.id(target), views[0], canvas_hw, (), copied)
    rendered, sample, _ = _composed(annotated_backgrounds, plan=plan)
    annotation = sample.annotations[-1]
    mask = coco_mask.decode(annotation.segmentation).astype(bool)
    height, width = views[1].size_hw
    assert np.array_equal(mask[:height, :width], coco_mask.decode(original.rle))
    pixels = annotated_backgrounds.load(source)[coco_mask.decode(original.rle).astype(bool)]
    assert np.array_equal(rendered.image[mask], pixels)
    assert (annotation.origin, annotation.category_id, annotation.area) == (
        "copied",
        original.category_id,
        original.area,
    )
    assert annotation.source_id == f"{copied.background_id}#{original.id}"


def test_no_sample_can_be_rendered_into_anything_invalid(make_pool, annotated_backgrounds):
    """All rules at once, many samples: boxes tight and inside, areas positive, everything accounted for."""
    from xpaste_ray.compose.compositor import Compositor

    settings_ = options(
        "copy_rule=both",
        "place.rule=centre",
        "rotation_deg=180",
        "blend=[hard, alpha, gaussian, box, motion, poisson]",
        "canvas={size_hw: [64, 48], fit: lsj, scale: [0.3, 2.0], flip_probability: 0.5}",
        "mask_rate=0.9",
        "instances=[0, 12]",
        "size={rule: image, factor: [0.05, 0.9], min_side_px: 2}",
    )
    compositor = Compositor(make_pool({"banana": 2, "lion": 2}), annotated_backgrounds, settings_, 0)
    for number in range(80):
        composed = compositor.compose(number)
        sample = composed.sample
        assert composed.image.shape == (sample.height, sample.width, 3)
        for annotation in sample.annotations:
            assert annotation.segmentation["size"] == [sample.height, sample.width]
            assert annotation.area == coco_mask.area(annotation.segmentation) > 0
            assert annotation.bbox == tuple(coco_mask.toBbox(annotation.segmentation).astype(int))
        painted = [a for a in sample.annotations if a.origin != "background"]
        assert len(painted) <= composed.counts["placed"]
