"""Merging on label maps small enough to follow by hand."""

import numpy as np
import pytest

from xpaste_ray.models.region_tree import merged_regions, picture_of

RED, DARK_RED, BLUE = (200, 30, 30), (190, 30, 30), (30, 30, 200)


def _stripes(*colours, side=20):
    """Upright stripes, a colour and a label each: (side, side * n, 3) uint8 and (side, side * n) int."""
    labels = np.repeat(np.arange(len(colours)), side)[None].repeat(side, axis=0)
    return np.array(colours, np.uint8)[labels], labels


def _merged(image, labels, max_merged=100):
    return [set(one.labels) for one in merged_regions(picture_of(image), labels, max_merged)]


def test_most_alike_neighbours_are_merged_first():
    """Red and dark red, then the rest; blue and the second blue are alike too, but no neighbours."""
    image, labels = _stripes(BLUE, RED, DARK_RED, BLUE)
    alone, first, second = np.split(
        np.array(_merged(image, labels), object), [4, 7]
    )  # n labels: n - 1 mergers
    assert alone.tolist() == [{0}, {1}, {2}, {3}]
    assert first[0] == second[0] == {1, 2} and first[2] == second[2] == {0, 1, 2, 3}


def test_one_way_minds_edges_and_the_other_colours():
    """Grey beside lighter grey, with a black line between; and beside a blue that a soft passage leads to."""
    labels = np.repeat([0, 1, 2], 30)[None].repeat(30, axis=0)
    image = np.full((30, 90, 3), 120, np.uint8)
    image[:, 60:] = (120, 120, 200)
    image[:, 28:30] = 0
    image[:, 50:70] = np.linspace((120, 120, 120), (120, 120, 200), 20)[None]
    found = _merged(image, labels, 2)
    assert found[3:] == [{1, 2}, {0, 1}]


@pytest.mark.parametrize(("max_merged", "largest"), [(1, 1), (2, 2), (3, 3), (4, 4)])
def test_no_merger_is_of_more_labels_than_allowed(max_merged, largest):
    image, labels = _stripes(BLUE, RED, DARK_RED, BLUE)
    assert max(map(len, _merged(image, labels, max_merged))) == largest


def test_areas_are_those_of_the_labels_together():
    image, labels = _stripes(RED, DARK_RED, BLUE, side=10)
    found = merged_regions(picture_of(image), labels, 3)
    assert [(set(one.labels), one.area) for one in found] == [
        ({0}, 100), ({1}, 100), ({2}, 100), *[({0, 1}, 200), ({0, 1, 2}, 300)] * 2,
    ]  # fmt: skip


def test_whole_image_has_no_outline_and_no_score():
    image, labels = _stripes(RED, BLUE)
    *_, whole = merged_regions(picture_of(image), labels, 2)
    assert whole.area == labels.size and whole.score == 0


def test_what_stands_out_inside_is_likelier_than_what_holds_the_border():
    """A blue square in red: both have the same outline, so the border and the areas decide. The square has
    no border, and the frame all of it."""
    labels = np.zeros((40, 40), int)
    labels[10:30, 10:30] = 1
    image = np.array([RED, BLUE], np.uint8)[labels]
    frame, square, *_ = merged_regions(picture_of(image), labels, 2)
    assert square.score > 0 and frame.score < 0.01 * square.score


def test_sharper_outline_is_likelier():
    labels = np.zeros((40, 80), int)
    labels[10:30, 10:30], labels[10:30, 50:70] = 1, 2
    image = np.array([RED, BLUE, DARK_RED], np.uint8)[labels]
    _, sharp, faint, *_ = merged_regions(picture_of(image), labels, 1)
    assert (sharp.area, faint.area) == (400, 400) and sharp.score > 5 * faint.score


def test_one_label_is_the_one_region():
    (only,) = merged_regions(picture_of(np.zeros((5, 7, 3), np.uint8)), np.zeros((5, 7), int), 10)
    assert (only.labels, only.area, only.score) == ((0,), 35, 0.0)
