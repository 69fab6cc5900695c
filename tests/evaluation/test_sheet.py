"""The sheet of the best and worst images."""

import numpy as np

from tests.evaluation.material import CAT, DOG, image, said, thing, truth
from xpaste_ray.evaluation.sheet import draw_sheet

HERE = (20, 20, 120, 120)
TILE, TOP, LEFT = 240, 50, 12  # of the first pair's first tile: below the title and the caption
SCALE = TILE / 200


def grey(row):
    return np.full((200, 200, 3), 120, np.uint8)


def drawn(here, predictions, **options):
    return draw_sheet(here, predictions, grey, [f"{row}.jpg" for row in range(9)], **options).astype(int)


def test_truth_is_left_and_predictions_are_right():
    """Of a dog where there is a cat, the middle of both tiles is tinted, each in its colour."""
    here = truth(image(1, thing(CAT, *HERE)))
    sheet = drawn(here, [said(1, DOG, 0.9, *HERE)])
    y, x = TOP + round(80 * SCALE), LEFT + round(80 * SCALE)
    left, right = sheet[y, x], sheet[y, x + TILE + 4]
    assert np.ptp(left) > 20 and np.ptp(right) > 20 and abs(left - right).max() > 20
    assert abs(sheet[TOP + TILE - 10, LEFT + TILE - 10] - 120).max() <= 1  # outside of it, as it was


def test_unsure_predictions_are_not_drawn():
    here = truth(image(1, thing(CAT, *HERE)))
    sheet = drawn(here, [said(1, CAT, 0.2, *HERE)])
    tile = sheet[TOP : TOP + TILE, LEFT + TILE + 4 : LEFT + 2 * TILE + 4]
    assert abs(tile - 120).max() <= 1


def test_no_image_is_shown_twice():
    """Three images make two best and one worst: a line each; with more, as many as are asked for."""
    here = truth(*(image(number, thing(CAT, *HERE)) for number in range(1, 4)))
    line = 20 + TILE + 12
    assert drawn(here, []).shape[0] == 2 * (30 + line)
    assert drawn(here, [], count=1).shape[0] == 2 * (30 + line)


def test_sheet_of_nothing_is_two_titles():
    assert drawn(truth(image(1)), []).shape[0] == 60
