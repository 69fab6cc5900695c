"""Originals and contexts come in the ratio that was asked for."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from tests.compose.options import options
from xpaste_ray.compose.background_draw import draw_background, weights
from xpaste_ray.rng import rng_for


class Images:
    """So many originals and contexts."""

    def __init__(self, originals, contexts):
        self.context_count, self._count = contexts, originals + contexts

    def __len__(self):
        return self._count


def _rows(images, count, *changes, seed=0):
    settings = options(*changes)
    return [draw_background(rng_for(seed, "test", n), n, images, settings) for n in range(count)]


def test_in_turn_two_originals_are_followed_by_a_context():
    """4 originals, rows 0 to 3, and 3 contexts, rows 4 to 6; both begin again after their last."""
    rows = _rows(Images(4, 3), 12, "background_draw=in-turn", "mix=[2, 1]")
    assert rows == [0, 1, 4, 2, 3, 5, 0, 1, 6, 2, 3, 4]


def test_empaste_takes_each_original_twice_and_each_context_once():
    """However many there are: as in its paper, which duplicates originals twice; 2 x 3 + 5 samples."""
    settings = ("background_draw=in-turn", "mix=[2, 1]", "mix_by=image")
    assert Counter(_rows(Images(3, 5), 11, *settings)) == {0: 2, 1: 2, 2: 2, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1}
    assert weights(3, 5, options(*settings)) == (6, 5)
    assert weights(3, 5, options("mix=[2, 1]")) == (2, 1)


NUMBERS = st.integers(1, 40)


@given(
    NUMBERS, NUMBERS, st.tuples(NUMBERS, NUMBERS), st.sampled_from(["source", "image"]), st.integers(1, 300)
)
def test_in_turn_every_beginning_has_its_share_and_nobody_is_passed_over(originals, contexts, mix, by, count):
    images = Images(originals, contexts)
    settings = options("background_draw=in-turn", f"mix={list(mix)}", f"mix_by={by}")
    rows = [draw_background(rng_for(0, "t"), n, images, settings) for n in range(count)]
    of_originals, of_contexts = weights(originals, contexts, settings)
    drawn = [row for row in rows if row >= originals]
    assert len(drawn) == count * of_contexts // (of_originals + of_contexts)
    assert drawn == [originals + n % contexts for n in range(len(drawn))]
    assert [row for row in rows if row < originals] == [n % originals for n in range(count - len(drawn))]


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        pytest.param(("mix=[2, 1]",), 1 / 3, id="by-source"),
        pytest.param(("mix=[1, 4]",), 4 / 5, id="mostly-contexts"),
        pytest.param(("mix=[2, 1]", "mix_by=image"), 2 / 10, id="by-image: 2 x 4 to 2"),
    ],
)
def test_random_draws_by_the_ratio_and_then_uniformly(changes, share):
    """Of 4 originals and 2 contexts."""
    found = np.bincount(_rows(Images(4, 2), 6000, *changes), minlength=6)
    expected = [(1 - share) / 4] * 4 + [share / 2] * 2
    assert chisquare(found, np.array(expected) * 6000).pvalue > 1e-4
    assert _rows(Images(4, 2), 50, *changes, seed=1) != _rows(Images(4, 2), 50, *changes)


def test_without_contexts_the_ratio_means_nothing():
    for changes in ((), ("background_draw=in-turn",)):
        rows = _rows(Images(5, 0), 40, *changes)
        assert rows == _rows(Images(5, 0), 40, *changes, "mix=[1, 9]", "mix_by=image") and set(rows) == set(
            range(5)
        )
