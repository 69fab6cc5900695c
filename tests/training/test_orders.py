from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xpaste_ray.training.orders import OrderWithContexts, RepeatedOrder, repeat_factors


def test_repeat_factors_by_hand():
    """Of 100 images 90 show category 1, 4 category 2 and 1 category 3. With t = 0.16, f is 0.9, 0.04 and
    0.01: factors 1 (no less), sqrt(0.16 / 0.04) = 2 and sqrt(0.16 / 0.01) = 4; an image has its largest."""
    rows = [*range(90), 90, 91, 92, 89, 89, 89]
    categories = [*[1] * 90, 2, 2, 2, 2, 2, 3]
    factors = repeat_factors(np.array(rows), np.array(categories), 100, 0.16)
    np.testing.assert_allclose(factors[:89], 1)
    np.testing.assert_allclose(factors[89:94], [4, 2, 2, 2, 1])


def test_threshold_of_none_and_images_without_objects():
    none = np.array([], np.int64)
    assert repeat_factors(none, none, 3, 0.001).tolist() == [1, 1, 1]
    assert repeat_factors(np.array([0, 1]), np.array([5, 6]), 1000, 0.0).max() == 1


@given(st.lists(st.integers(1, 4), min_size=1, max_size=9), st.integers(0, 99))
def test_whole_factors_come_exactly_so_often_in_each_round(factors, seed):
    order, length = RepeatedOrder(np.array(factors, float), seed, "x"), sum(factors)
    for round_number in range(3):
        rows = [order[number] for number in range(round_number * length, (round_number + 1) * length)]
        assert Counter(rows) == Counter(dict(enumerate(factors)))


def test_parts_of_factors_come_in_the_mean():
    order = RepeatedOrder(np.array([1.0, 2.5]), 0, "x")
    counts = Counter(order[number] for number in range(3500))
    assert abs(counts[1] / counts[0] - 2.5) < 0.1


def test_number_i_does_not_depend_on_what_was_asked_before():
    factors = np.array([1.0, 1.5, 3.2, 1.0])
    straight = RepeatedOrder(factors, 7, "x")
    rows = [straight[number] for number in range(60)]
    backwards = RepeatedOrder(factors, 7, "x")
    assert [backwards[number] for number in reversed(range(60))] == rows[::-1]
    assert [RepeatedOrder(factors, 7, "y")[number] for number in range(60)] != rows
    assert [RepeatedOrder(factors, 8, "x")[number] for number in range(60)] != rows


def test_contexts_are_their_share_and_the_rows_after_the_originals():
    ones = RepeatedOrder(np.ones(10), 0, "a"), RepeatedOrder(np.ones(4), 0, "b")
    order = OrderWithContexts(*ones, first=10, share=1 / 3, seed=0)
    rows = [order[number] for number in range(3000)]
    assert set(rows) == set(range(14))
    assert abs(np.mean(np.array(rows) >= 10) - 1 / 3) < 0.03
