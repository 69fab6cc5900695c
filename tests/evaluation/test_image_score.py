"""Which images are called good and bad."""

import pytest

from tests.evaluation.material import CAT, DOG, image, said, thing, truth
from xpaste_ray.evaluation.image_score import image_score, rank_images

HERE = (10, 10, 40, 40)


def score(objects, predictions, lvis=False, **lists):
    return image_score(image(1, *objects, **lists), predictions, lvis)


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        pytest.param([said(1, CAT, 0.9, *HERE)], 1, id="right"),
        pytest.param([said(1, CAT, 0.9, 10, 10, 40, 30)], 0.75, id="three-quarters-of-it"),
        pytest.param([said(1, CAT, 0.9, 10, 10, 40, 20)], 0, id="half-of-it-is-no-match"),
        pytest.param([], 0, id="missed"),
        pytest.param([said(1, DOG, 0.9, *HERE)], 0, id="another-category"),
        pytest.param([said(1, CAT, 0.9, *HERE), said(1, CAT, 0.8, *HERE)], 1 / 1.5, id="twice"),
        pytest.param([said(1, CAT, 0.9, 10, 10, 40, 30), said(1, CAT, 0.8, *HERE)], 0.5, id="surest-chooses"),
    ],
)
def test_score_of_one_cat(predictions, expected):
    assert score([thing(CAT, *HERE)], predictions) == pytest.approx(expected)


def test_one_of_two_is_two_thirds():
    objects = [thing(CAT, *HERE), thing(DOG, 100, 100, 40, 40)]
    assert score(objects, [said(1, CAT, 0.9, *HERE)]) == pytest.approx(1 / 1.5)


def test_image_with_nothing_to_count_has_no_score():
    assert score([], []) is None
    assert score([thing(CAT, *HERE, crowd=True)], []) is None
    assert score([], [said(1, CAT, 0.9, *HERE)]) == 0


def test_what_lies_in_a_crowd_is_not_counted():
    objects = [thing(CAT, *HERE), thing(CAT, 100, 100, 80, 80, crowd=True)]
    right, inside = said(1, CAT, 0.8, *HERE), said(1, CAT, 0.9, 110, 110, 10, 10)
    assert score(objects, [inside, right]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("lists", "expected"),
    [({}, 1), ({"negative": [DOG]}, 1 / 1.5), ({"negative": [DOG], "not_exhaustive": [DOG]}, 1)],
)
def test_false_ones_count_in_lvis_where_the_image_tells_of_all(lists, expected):
    predictions = [said(1, DOG, 0.9, 100, 100, 9, 9), said(1, CAT, 0.8, *HERE)]
    assert score([thing(CAT, *HERE)], predictions, lvis=True, **lists) == pytest.approx(expected)


def test_images_are_ranked_by_what_was_surely_said():
    here = truth(image(1, thing(CAT, *HERE)), image(2, thing(CAT, *HERE)), image(3), image(4))
    predictions = [said(1, CAT, 0.29, *HERE), said(2, CAT, 0.3, *HERE), said(4, CAT, 0.5, *HERE)]
    assert [(one.id, score) for one, score in rank_images(here, predictions)] == [(2, 1), (1, 0), (4, 0)]
