"""A plan rendered with another pool or other backgrounds says so, and what to do."""

from dataclasses import replace

import pytest

from xpaste_ray.compose.annotate import annotate
from xpaste_ray.compose.lookup import copied_objects
from xpaste_ray.compose.plan import Copied, PastePlan, Placement, View
from xpaste_ray.compose.render import render
from xpaste_ray.config import OutputSettings
from xpaste_ray.errors import ConfigError

VIEW = View((0, 0, 48, 48), (48, 48), False)


@pytest.fixture
def plan(annotated_backgrounds):
    """a.jpg (64 x 48 px), with annotation 4 of the same image."""
    return PastePlan(12, "a.jpg", VIEW, (48, 48), (), Copied("a.jpg", VIEW, (4,)))


def _plan(plan, **copied):
    return replace(plan, copied=replace(plan.copied, **copied))


def test_plan_that_fits_finds_what_it_copies(plan, annotated_backgrounds):
    assert [a.id for a in copied_objects(plan, plan.copied, annotated_backgrounds)] == [4]


def test_other_background_is_an_error_that_names_it(plan, make_pool, annotated_backgrounds):
    pool = make_pool({"lion": 1})
    message = "sample 12 asks for background z.jpg.* render it with the backgrounds that it was planned with"
    missing = replace(plan, background_id="z.jpg")
    with pytest.raises(ConfigError, match=message):
        render(missing, pool, annotated_backgrounds)
    rendered = render(plan, pool, annotated_backgrounds)
    with pytest.raises(ConfigError, match=message):
        annotate(missing, rendered, pool, annotated_backgrounds, OutputSettings(formats=("coco",)))
    with pytest.raises(ConfigError, match=message):
        render(_plan(plan, background_id="z.jpg"), pool, annotated_backgrounds)


def test_annotations_that_are_not_there_are_an_error(plan, make_pool, annotated_backgrounds):
    with pytest.raises(ConfigError, match=r"sample 12 copies annotations \[2, 77\] of background a.jpg"):
        render(_plan(plan, annotation_ids=(77, 4, 2)), make_pool({"lion": 1}), annotated_backgrounds)


def test_smaller_background_of_that_name_is_an_error(plan, make_pool, annotated_backgrounds):
    large = replace(plan, view=View((0, 10, 64, 48), (48, 48), False))
    with pytest.raises(ConfigError, match="shows 64 x 58 px of background a.jpg, which has 64 x 48 px here"):
        render(large, make_pool({"lion": 1}), annotated_backgrounds)


def test_other_pool_is_an_error_that_names_the_instance(plan, make_pool, annotated_backgrounds):
    other = replace(plan, placements=(Placement("z", 1, (4, 4), (0, 0)),))
    with pytest.raises(ConfigError, match="sample 12 asks for instance z"):
        render(other, make_pool({"lion": 1}), annotated_backgrounds)
