import cv2
import numpy as np
import pytest

from tests.serve.asking import fields_of
from xpaste_ray.compose.plan import PastePlan, Placement, View
from xpaste_ray.config import DatasetSettings, load
from xpaste_ray.serve.cost import compose_seconds, pieces, planned_at_a_time, planning_seconds

LARGE = {"size": 2048, "options": {"instances": [100, 100], "canvas.fit": "resize"}}


def _plan(side_px, count, mask_rate=1.0, **placement):
    placed = [Placement("a", 1, (side_px, side_px), (0, 0), **placement)] * count
    view = View((0, 0, 1, 1), (2000, 2000), False)
    return PastePlan(0, "b", view, (2000, 2000), tuple(placed), mask_rate=mask_rate)


@pytest.mark.parametrize(
    ("plan", "seconds"),
    [
        (_plan(1000, 0), 0),
        (_plan(1000, 1), 0.03),
        (_plan(500, 8), 0.06),  # two megapixels
        (_plan(1000, 3, blend="poisson"), 3.09),
        (_plan(1000, 1, angle_deg=45), 0.06),  # the rectangle around it has twice the area
        (_plan(1000, 1, mask_rate=0.5), 0.07),  # a kernel of 500 px
        (_plan(1000, 1, mask_rate=2.0), 0.44),  # four megapixels, by a kernel of 1,000 px
    ],
)
def test_seconds_follow_from_the_area_that_is_pasted_and_how(plan, seconds):
    assert compose_seconds(plan) == pytest.approx(seconds, rel=0.02)


def test_only_free_circles_take_long_to_plan():
    circles = ["compose.size.rule=circle", "compose.place.rule=space-maximize"]
    settings = load(DatasetSettings, "demo", circles).compose
    assert planning_seconds(settings, (1000, 1000), 50) == pytest.approx(0.7)
    assert planning_seconds(load(DatasetSettings, "demo").compose, (1000, 1000), 50) == 0
    assert [planned_at_a_time(seconds) for seconds in (0.0, 0.01, 0.3, 7.0)] == [1000, 100, 3, 1]


def test_pieces_take_about_a_second_or_hold_one_image():
    """Of 0.39, 0.39, 0.39, 3 and 0.39 s."""
    plans = [_plan(1000, count) for count in (13, 13, 13, 100, 13)]
    assert [len(piece) for piece in pieces(plans)] == [2, 1, 1, 1]
    assert [plan for piece in pieces(plans) for plan in piece] == plans and list(pieces([])) == []


@pytest.mark.parametrize(
    "options",
    [
        {"blend": ["poisson"], "size": {"rule": "image", "factor": [0.5, 0.9]}},
        {"mask_rate": 2.0, "size": {"rule": "image", "factor": [0.33, 0.33]}},
        {"mask_rate": 0.5, "size": {"rule": "image", "factor": [0.9, 0.9]}, "rotation_deg": 180},
        {"size": {"rule": "circle"}, "place": {"rule": "space-maximize"}},
    ],
)
def test_an_image_that_would_hold_a_core_for_minutes_is_refused_at_once(asking, options):
    answer = asking.compose(size=2048, options=LARGE["options"] | options)
    assert fields_of(answer)[0] in ("options", "options.instances")
    assert "an image would take about" in answer.json()["detail"]
    assert asking.exchanges[-1].seconds < 2


def test_many_images_that_take_seconds_each_are_refused_together(asking):
    """Each of 64 pastes about 1.2 MP by poisson."""
    options = {"instances": [5, 5], "blend": ["poisson"], "size": {"rule": "image", "factor": [0.5, 0.5]},
               "canvas.fit": "resize"}  # fmt: skip
    answer = asking.compose(count=64, size=1000, options=options)
    assert fields_of(answer) == ["options"]
    assert "all images together would take about" in answer.json()["detail"]
    assert asking.compose(count=1, size=1000, options=options).status_code == 200


def test_a_clients_plan_that_would_hold_a_core_is_refused(asking):
    (plan,) = asking.post("/v1/plans", {"size": 1024}).json()["plans"]
    (placement, *_) = plan["placements"]
    plan["placements"] = [placement | {"size_hw": [1024, 1024], "blend": "poisson"}] * 20
    assert fields_of(asking.post("/v1/render", {"plan": plan})) == ["plan.placements"]
    plan["placements"] = [placement | {"size_hw": [1024, 1024]}] * 20
    assert asking.post("/v1/render", {"plan": plan}).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"blend": ["poisson"]}, {"mask_rate": 2.0}, {"mask_rate": 0.5}, {}])
@pytest.mark.parametrize("side", [0.1, 0.4, 0.95])
def test_what_is_foretold_is_not_less_than_a_third_of_what_is_taken(asking, options, side):
    """Of one core of any machine of these years."""
    served = asking.service.served
    asked = {"canvas.fit": "resize", "size": {"rule": "image", "factor": [side, side]}, **options}
    compositor = served.rules(None, {**asked, "instances": [4, 4]}, (2048, 2048), ()).compositor
    plan = compositor.plan(0)
    cv2.setNumThreads(1)
    began = cv2.getTickCount()
    image = compositor.render(plan).image
    took = (cv2.getTickCount() - began) / cv2.getTickFrequency()
    assert isinstance(image, np.ndarray) and took < 3 * compose_seconds(plan) + 1
