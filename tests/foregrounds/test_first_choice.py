import numpy as np
import pytest

from xpaste_ray.foregrounds.first_choice import first_choice

NAN = float("nan")


def choose(images, nearest=3):
    """The place in its image of what is chosen of each; images: lists of (distance to the centre, score)."""
    sizes = [len(one) for one in images]
    flat = np.array([pair for one in images for pair in one], np.float32).reshape(-1, 2)
    image_of = np.repeat(np.arange(len(images)), sizes)
    choice = first_choice(image_of, len(images), flat[:, 0], flat[:, 1], nearest)
    starts = np.cumsum(sizes) - sizes
    return [int(row - start) if row >= 0 else None for row, start in zip(choice, starts, strict=True)]


@pytest.mark.parametrize(("nearest", "place"), [(1, 2), (2, 2), (3, 0), (4, 3)])
def test_the_classifier_chooses_among_the_nearest(nearest, place):
    """By distance: 2, 1, 0, 3; of the first three it likes 0 most, of all 3."""
    assert choose([[(0.3, 0.7), (0.2, 0.1), (0.1, 0.6), (0.4, 0.9)]], nearest) == [place]


def test_ties_go_to_the_first_of_the_order():
    assert choose([[(0.2, 0.5), (0.1, 0.8), (0.1, 0.8)]]) == [1]
    assert choose([[(0.2, 0.9), (0.1, 0.8), (0.1, 0.95)]], nearest=1) == [1]


def test_segments_without_a_distance_or_a_score_do_not_count():
    """An image whose activation has no centre has no first choice."""
    assert choose([[(NAN, 0.9), (0.5, NAN), (0.6, 0.1)], [(NAN, 0.5)], [], [(0.1, 0.0)]]) == [
        2,
        None,
        None,
        0,
    ]


def test_images_do_not_share_their_nearest():
    assert choose([[(0.1, 0.1)] * 5, [(0.9, 0.1), (0.8, 0.2)]], nearest=2) == [0, 1]


def test_nothing_becomes_nothing():
    assert choose([]) == []
