"""Plans of a few squares, painted and annotated; the one with every number is in test_golden."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tests.backgrounds.material import square, write_dataset
from tests.compose.options import options
from tests.compose.pools import pixels, write_pool
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.compose.annotate import annotate
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.plan import Copied, PastePlan, Placement, View
from xpaste_ray.compose.render import render
from xpaste_ray.compose.shards import compose_shard, dataset_spec
from xpaste_ray.config import OcclusionSettings, OutputSettings
from xpaste_ray.formats.dataset import finish
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


@pytest.mark.parametrize(
    ("top_left_yx", "fraction"),
    [((0, 0), 1), ((-1, 0), 12 / 16), ((-3, -3), 1 / 16), ((15, 15), 1 / 16), ((14, 15), 2 / 16)],
)
@pytest.mark.parametrize("blend", ["alpha", "gaussian"])
def test_visible_fraction_is_of_the_whole_object(backgrounds, top_left_yx, fraction, blend):
    """A border takes away as another object does, whatever the margin of a blend."""
    _, sample, left_out = _composed(backgrounds, _square("a", top_left_yx, blend=blend))
    assert [a.visible_fraction for a in sample.annotations] == [fraction] and not left_out


@pytest.mark.parametrize(
    ("occlusion", "areas", "left_out"),
    [
        pytest.param({"rule": "visible-fraction", "min_visible_fraction": 0.25}, [4], 1, id="fraction"),
        pytest.param({"rule": "xpaste"}, [4, 1], 0, id="xpaste-asks-of-what-is-inside"),
    ],
)
def test_border_cuts_count_as_the_rule_says(backgrounds, occlusion, areas, left_out):
    """Corners: of a, 4 of 16 px are inside, of b one."""
    squares = _square("a", (-2, -2)), _square("b", (15, 15))
    _, sample, counts = _composed(backgrounds, *squares, occlusion=OcclusionSettings(**occlusion))
    assert [a.area for a in sample.annotations] == areas and counts == Counter(occluded=left_out)
    missing = {11} if left_out else set()
    assert (
        set(sample.not_exhaustive_category_ids)
        == {10, *(a.category_id for a in sample.annotations)} | missing
    )


def test_instance_larger_than_the_canvas_fills_it(backgrounds):
    rendered, sample, _ = _composed(backgrounds, _square("a", (-10, -10), (40, 40)))
    assert (rendered.image == 1).all() and sample.annotations[0].bbox == (0, 0, 16, 16)


def test_transparent_instance_is_counted_and_not_annotated(backgrounds):
    pool = SquarePool()
    pool.alpha = 51
    rendered, sample, left_out = _composed(backgrounds, _square("a", (0, 0)), pool=pool)
    assert (rendered.image[:4, :4] == 80).all()  # 0.2 x 1 + 0.8 x 100
    assert not sample.annotations and left_out == {"empty_mask": 1}  # below half opaque: no mask


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


def test_hidden_object_of_the_background_is_counted(annotated_backgrounds):
    """b.jpg, 60 x 40 px: one square over all of it. Nothing is left of its two objects and the crowd."""
    view = _whole_view(annotated_backgrounds, 1)
    plan = PastePlan(0, "b.jpg", view, view.size_hw, (_square("a", (0, 0), (40, 60)),))
    _, sample, left_out = _composed(annotated_backgrounds, plan=plan)
    assert [a.source_id for a in sample.annotations] == ["a"] and left_out == {"background_hidden": 3}
    assert sample.not_exhaustive_category_ids == (10,)  # COCO knows nothing of category 10


@pytest.fixture
def speck(tmp_path):
    """A photograph of 64 x 64 px with a cat of 20 px and, at (1, 1), a cup of one pixel, which a view of
    16 x 16 px does not show: it shows pixel 2 of every four."""
    image = {"id": 1, "file_name": "a.jpg", "height": 64, "width": 64}
    entry = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [],
        "area": 1,
        "segmentation": [square(30, 30, 20)],
    }
    cup = {**entry, "id": 2, "category_id": 44, "segmentation": [square(1, 1, 1)]}
    path = write_dataset(tmp_path / "speck", [image], [entry, cup])
    return open_or_index(resolve_source(path), tmp_path / "cache")


SMALL = View((0, 0, 64, 64), (16, 16), False)


def test_object_that_shrinks_to_nothing_is_counted_and_leaves_its_category_unfinished(speck):
    _, sample, left_out = _composed(speck, plan=PastePlan(0, "a.jpg", SMALL, (16, 16), ()))
    assert [(a.category_id, a.area) for a in sample.annotations] == [(1, 25)]
    assert left_out == {"background_empty_mask": 1} and sample.not_exhaustive_category_ids == (44,)


def test_copied_object_that_shrinks_to_nothing_is_counted_and_paints_nothing(speck):
    """The photograph itself is seen without objects: its right upper quarter."""
    plan = PastePlan(0, "a.jpg", View((52, 0, 12, 12), (16, 16), False), (16, 16), ())
    copying = replace(plan, copied=Copied("a.jpg", SMALL, (2,)))
    before, _, _ = _composed(speck, plan=plan)
    rendered, sample, left_out = _composed(speck, plan=copying)
    assert np.array_equal(rendered.image, before.image) and not sample.annotations
    assert left_out == {"empty_mask": 1} and sample.not_exhaustive_category_ids == ()


def test_transparent_and_tiny_instances_of_a_pool(tmp_path, backgrounds):
    """Nothing to see, a veil of alpha 51, and one pixel, over each other; all are accounted for."""
    pool = write_pool(
        tmp_path / "pool",
        {"clear": pixels(4, 4, 1, alpha=0), "veil": pixels(4, 4, 0, alpha=51), "dot": pixels(1, 1, 3)},
    )
    placements = [
        Placement(name, category, size_hw, (2, 2), blend=blend)
        for blend in ("alpha", "hard", "gaussian", "poisson")
        for name, category, size_hw in (("clear", 45, (4, 4)), ("veil", 475, (4, 4)), ("dot", 649, (1, 1)))
    ]
    rendered, sample, left_out = _composed(backgrounds, *placements[:3], pool=pool)
    assert rendered.image[2, 2].tolist() == [3] * 3
    assert (rendered.image[2:6, 2:6].reshape(-1, 3)[1:] == 80).all()  # 0.8 x 100
    assert [(a.source_id, a.bbox, a.area) for a in sample.annotations] == [("dot", (2, 2, 1, 1), 1)]
    assert left_out == {"empty_mask": 2}
    _, sample, left_out = _composed(backgrounds, *placements, pool=pool)
    assert [a.z_order for a in sample.annotations] == [12]
    assert left_out == {"empty_mask": 8, "hidden": 3}


def test_300_instances_come_back_from_the_file(tmp_path, backgrounds):
    """More than a byte can count: every mask as pycocotools reads it is the square that was pasted."""
    pool = write_pool(tmp_path / "pool", {"a": pixels(4, 4, 1)})
    corners = [(4 * (i // 20), 4 * (i % 20)) for i in range(300)]
    placements = [Placement("a", 45, (4, 4), corner) for corner in corners]
    settings_ = options("count=1", "output.formats=[coco]")
    compositor = Compositor(pool, backgrounds, settings_, 0)
    spec = dataset_spec(settings_, pool, backgrounds, "recipe", {})
    compose_shard(tmp_path / "out", spec.shards[0], compositor, spec, [_plan(*placements, side_px=80)])
    finish(tmp_path / "out", spec)
    coco = COCO(str(tmp_path / "out" / "annotations.json"))
    assert len(coco.anns) == 300
    for (y, x), annotation in zip(corners, coco.dataset["annotations"], strict=True):
        mask = np.zeros((80, 80), np.uint8)
        mask[y : y + 4, x : x + 4] = 1
        assert np.array_equal(coco.annToMask(annotation), mask)


def test_no_sample_can_be_rendered_into_anything_invalid(make_pool, annotated_backgrounds):
    """All rules at once, many samples: boxes tight and inside, areas positive, everything accounted for."""
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
