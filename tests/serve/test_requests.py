"""What a client may send, before the operator's ceilings."""

import json

import pytest
from pydantic import ValidationError

from xpaste_ray.compose.plan import (
    Colour,
    Copied,
    PastePlan,
    Placement,
    View,
    plan_to_row,
)
from xpaste_ray.config import OcclusionSettings
from xpaste_ray.serve.requests import ComposeRequest, PlanModel, RenderRequest

VIEW = View((1, 2, 30, 20), (40, 60), True)
WHOLE = PastePlan(
    sample=5,
    background_id="b.jpg",
    view=VIEW,
    canvas_hw=(64, 60),
    placements=(
        Placement("one", 45, (10, 12), (-3, 50)),
        Placement("two", 46, (7, 7), (0, 0), True, 30.0, "motion", (9, 45.0), Colour(1.1, 0.9, 1.2, -0.1)),
    ),
    copied=Copied("c.jpg", VIEW, (4, 6)),
    match=(0.2, 0.3),
    mask_rate=1.5,
    occlusion=OcclusionSettings(rule="xpaste"),
    skipped=("too_small",),
)


def _json(plan=WHOLE):
    return json.loads(json.dumps(plan_to_row(plan)))


def _changed(path, value):
    """The whole plan with one value changed, by its path."""
    row = at = _json()
    *parents, last = path.split(".")
    for name in parents:
        at = at[int(name)] if isinstance(at, list) else at[name]
    at[int(last) if isinstance(at, list) else last] = value
    return row


@pytest.mark.parametrize("plan", [WHOLE, PastePlan(0, "b", View((0, 0, 4, 4), (4, 4), False), (4, 4), ())])
def test_a_plan_survives_the_way_to_a_client_and_back(plan):
    assert PlanModel.model_validate_json(json.dumps(plan_to_row(plan))).plan() == plan


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sample", -1), ("sample", 2**53), ("sample", 1.5), ("background_id", ""),
        ("background_id", "x" * 1025), ("background_id", None), ("view.crop_xywh", [-1, 0, 5, 5]),
        ("view.crop_xywh", [0, 0, 0, 5]),
        ("view.crop_xywh", [0, 0, 5]), ("view.crop_xywh", [0, 0, 5, 10**7]), ("view.size_hw", [0, 5]),
        ("view.size_hw", [5, 8193]), ("view.flip", "perhaps"), ("canvas_hw", [0, 60]),
        ("canvas_hw", [8193, 60]), ("canvas_hw", [39, 60]), ("canvas_hw", [64, 59]),
        ("copied.view.size_hw", [65, 60]),
        ("placements.0.size_hw", [0, 1]), ("placements.0.size_hw", [1, 8193]),
        ("placements.0.top_left_yx", [0, 10**6 + 1]), ("placements.0.top_left_yx", [-(10**18), 0]),
        ("placements.0.top_left_yx", [0.5, 0]), ("placements.0.category_id", 2**62),
        ("placements.0.angle_deg", 361), ("placements.0.angle_deg", float("nan")),
        ("placements.0.blend", "pyramid"), ("placements.1.motion.length_px", 4),
        ("placements.1.motion.length_px", 10**9), ("placements.1.motion.direction_deg", float("inf")),
        ("placements.1.motion", [9, 45.0]), ("placements.1.colour.brightness", -0.1),
        ("placements.1.colour.contrast", 11), ("placements.1.colour.hue", float("nan")), ("match", [0, 1.1]),
        ("mask_rate", 0.49), ("mask_rate", 2.01), ("mask_rate", float("nan")), ("occlusion.rule", "none"),
        ("occlusion.min_visible_fraction", 2), ("copied.annotation_ids", [2**62]),
        ("copied.annotation_ids", [1] * 1001), ("skipped", ["x" * 101]), ("other", 1), ("view.other", 1),
        ("placements.0.other", 1), ("placements.0.rgba", "/etc/passwd"),
    ],
)  # fmt: skip
def test_a_plan_with_anything_else_is_refused(path, value):
    with pytest.raises(ValidationError) as raised:
        RenderRequest.model_validate({"plan": _changed(path, value)})
    (first, *_) = raised.value.errors()
    assert first["loc"][:2] == ("plan", path.split(".")[0]) or "as large as the views" in first["msg"]


@pytest.mark.parametrize(
    "request_",
    [
        {"count": 0}, {"count": 10**9}, {"count": 1.5}, {"count": "many"}, {"seed": -1}, {"seed": 2**63},
        {"seed": float("nan")}, {"first": -1}, {"first": 2**53}, {"size": 15}, {"size": 8193}, {"size": [64]},
        {"size": [64, 15]}, {"size": [64, 64, 64]}, {"size": float("inf")}, {"preset": "x" * 101},
        {"categories": ["x" * 201]}, {"categories": ["x"] * 2001}, {"categories": "frog"}, {"options": []},
        {"pool_version": "x" * 101}, {"prompt": "a frog"}, {"pool": "/etc"},
    ],
)  # fmt: skip
def test_a_request_with_anything_else_is_refused(request_):
    with pytest.raises(ValidationError):
        ComposeRequest.model_validate(request_)


@pytest.mark.parametrize(("size", "size_hw"), [(None, None), (64, (64, 64)), ([32, 64], (32, 64))])
def test_one_size_is_both_sides(size, size_hw):
    assert ComposeRequest.model_validate({"size": size}).size_hw == size_hw


def test_the_examples_of_the_document_are_requests():
    for example in ComposeRequest.model_config["json_schema_extra"]["examples"]:
        ComposeRequest.model_validate(example)
