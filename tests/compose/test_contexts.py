"""Composing on originals and on contexts, from plans to annotations."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.backgrounds.material import compressed_rle, write_dataset
from tests.compose.options import options
from xpaste_ray.backgrounds import MixedBackgrounds, open_or_index, resolve_source
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.patch import turned_size_hw
from xpaste_ray.compose.placement import largest_free_circle
from xpaste_ray.compose.plan import plan_from_row, plan_to_row
from xpaste_ray.config import DatasetSettings, load
from xpaste_ray.errors import ConfigError

COUNTS = {"banana": 2, "lion": 3}
CONTEXTS = {"context:0.png", "context:1.png"}


@pytest.fixture
def mixed(annotated_backgrounds, backgrounds):
    """Three originals, two of them with objects, and two grey contexts."""
    return MixedBackgrounds(annotated_backgrounds, backgrounds)


def _compositor(pool, backgrounds, *changes, seed=0):
    return Compositor(pool, backgrounds, options(*changes), seed)


@pytest.mark.parametrize("draw", ["random", "in-turn"])
def test_a_plan_names_what_it_is_painted_on_and_needs_no_more(make_pool, mixed, draw):
    """It survives being stored, whatever was planned before, and whatever the ratio is at rendering."""
    pool = make_pool(COUNTS)
    compositor = _compositor(pool, mixed, f"background_draw={draw}", "mix=[1, 1]")
    samples = [compositor.compose(number) for number in range(12)]
    assert {done.plan.background_id in CONTEXTS for done in samples} == {True, False}
    other = _compositor(pool, mixed, "mix=[9, 1]", seed=5)
    for done in reversed(samples):
        again = other.render(plan_from_row(plan_to_row(done.plan)))
        assert np.array_equal(again.image, done.image) and again.sample == done.sample
    again = _compositor(pool, mixed, f"background_draw={draw}", "mix=[1, 1]")
    assert again.plan(7) == samples[7].plan


def test_only_originals_have_objects_of_their_own(make_pool, mixed):
    """And what is told of an object leads to the original's annotation."""
    compositor = _compositor(
        make_pool(COUNTS), mixed, "canvas.fit=keep", "background_draw=in-turn", "mix=[3, 2]"
    )
    seen, on = Counter(), Counter()
    for done in map(compositor.compose, range(5)):
        on[done.plan.background_id] += done.counts["on_contexts"]
        own = [a for a in done.sample.annotations if a.origin == "background"]
        assert all(a.source_id.startswith(f"{done.plan.background_id}#") for a in own)
        seen[done.plan.background_id] += len(own)
    assert set(seen) == set(mixed.ids) and on == Counter(CONTEXTS)
    assert {name for name, count in seen.items() if count} == {"a.jpg", "b.jpg"}


def test_objects_are_copied_from_originals_alone(make_pool, mixed):
    """Onto originals and onto contexts."""
    compositor = _compositor(make_pool(COUNTS), mixed, "copy_rule=self", "mix=[1, 1]")
    pairs = {(p.background_id, p.copied.background_id) for p in map(compositor.plan, range(300)) if p.copied}
    assert {other for _, other in pairs} == {"a.jpg", "b.jpg"} and {own for own, _ in pairs} == set(mixed.ids)


def test_one_original_with_objects_is_not_enough_to_copy_from(make_pool, mixed):
    """Image a.jpg shows no dog, and c.jpg nothing: contexts do not count."""
    with pytest.raises(ConfigError, match="another annotated background.* at least two"):
        _compositor(make_pool(COUNTS), mixed.without_categories(["dog"]), "copy_rule=self")


def test_what_a_context_shows_is_not_known_so_any_category_may_be_present(make_pool, mixed):
    pool = make_pool({"banana": 2, "frog": 2, "lion": 2})
    pool.category_ids = np.array([1, 1, 18, 18, 44, 44])  # those of the originals: a.jpg shows 1 and 44
    compositor = _compositor(pool, mixed, "category.rule=present", "instances=[8, 8]", "mix=[1, 1]")
    drawn = {name: set() for name in mixed.ids}
    for plan in map(compositor.plan, range(60)):
        drawn[plan.background_id] |= {placement.category_id for placement in plan.placements}
    assert drawn["a.jpg"] == {1, 44} and all(drawn[name] == {1, 18, 44} for name in CONTEXTS)


def test_a_plan_on_a_context_is_refused_where_there_is_none(make_pool, mixed):
    pool = make_pool(COUNTS)
    plans = map(_compositor(pool, mixed, "background_draw=in-turn").plan, range(3))
    (plan,) = (plan for plan in plans if plan.background_id in CONTEXTS)
    with pytest.raises(ConfigError, match="asks for background context:0.png, which these do not have"):
        _compositor(pool, mixed.originals).render(plan)
    gone = replace(plan, background_id="context:9.png")
    with pytest.raises(ConfigError, match="asks for background context:9.png"):
        _compositor(pool, mixed).render(gone)


# --- on masks from image-level labels ------------------------------------------------------------


def _foregrounds(folder):
    """`annotations.json` over the original images: full-frame masks as RLE, with what tells of their origin.

    One image of 64 x 64 px whose left 40 columns are a cat.
    """
    cat = np.zeros((64, 64), bool)
    cat[:, :40] = True
    image = {"id": 1, "file_name": "2007_000001.jpg", "height": 64, "width": 64}
    chosen = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 40, 64], "area": 2560,
              "segmentation": compressed_rle(cat), "class_score": 0.9}  # fmt: skip
    return open_or_index(resolve_source(write_dataset(folder, [image], [chosen])), folder / "cache"), cat


@pytest.mark.parametrize("preset", ["empaste-voc", "empaste-coco"])
def test_space_maximize_sees_the_chosen_segments_as_occupied(make_pool, backgrounds, tmp_path, preset):
    """EM-Paste, Algorithm 2: the first free circle of the original lies beside its cat, on column 52, and is
    the canvas' own on a context; the cat stays labelled whole."""
    originals, cat = _foregrounds(tmp_path / "foregrounds")
    settings = load(
        DatasetSettings,
        preset,
        [f"compose.{change}" for change in (
            "canvas.size_hw=[64, 64]", "size={rule: circle, min_side_px: 1}", "place.rule=space-maximize",
            "background_draw=in-turn", "mix=[1, 1]", "mix_by=source")],
    ).compose  # fmt: skip
    compositor = Compositor(make_pool(COUNTS), MixedBackgrounds(originals, backgrounds), settings, seed=1)
    circles = {
        False: largest_free_circle(cat.astype(np.uint8)),
        True: largest_free_circle(np.zeros((64, 64), np.uint8)),
    }
    assert circles[False].centre_yx[1] == pytest.approx(52, abs=1) and circles[True].radius > 30
    for done in map(compositor.compose, range(8)):
        on_context = done.plan.background_id in CONTEXTS
        first, free = done.plan.placements[0], circles[on_context]
        outer_hw = turned_size_hw(first.size_hw, first.angle_deg)  # of a disc, whose middle is its centre
        centre = [corner + side / 2 for corner, side in zip(first.top_left_yx, outer_hw, strict=True)]
        assert np.hypot(*np.subtract(centre, free.centre_yx)) < 2
        assert free.radius < max(first.size_hw) <= 2 * free.radius
        taken = np.zeros((64, 64), int)
        for annotation in done.sample.annotations:
            taken += coco_mask.decode(annotation.segmentation)
        assert taken.max() == 1
        own = [a for a in done.sample.annotations if a.origin == "background"]
        if on_context:
            assert own == []
        else:
            (annotation,) = own
            assert (annotation.area, annotation.category_id) == (40 * 64, 1)
            assert np.array_equal(coco_mask.decode(annotation.segmentation), cat)


def test_masks_may_lie_apart_from_their_images(tmp_path):
    """The run of `xpaste foregrounds` has the file, and the images stay where they are."""
    here, _ = _foregrounds(tmp_path / "foregrounds")
    (tmp_path / "run").mkdir()
    file = (tmp_path / "foregrounds" / "annotations.json").rename(tmp_path / "run" / "annotations.json")
    assert json.loads(file.read_text())["annotations"]
    source = resolve_source(file, tmp_path / "foregrounds" / "images")
    apart = open_or_index(source, tmp_path / "cache")
    assert apart.fingerprint == here.fingerprint and len(apart.annotations(0)) == 1
