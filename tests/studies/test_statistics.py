"""Means, spreads and paired differences, by hand."""

import pytest

from xpaste_ray.studies import difference, half_interval, summary


def test_spread_is_the_samples_standard_deviation():
    told = summary([0.30, 0.32, 0.37])
    assert told.mean == pytest.approx(0.33)
    assert told.std == pytest.approx((0.0026 / 2) ** 0.5)  # squares: 0.0009 + 0.0001 + 0.0016


def test_one_seed_has_no_spread_and_no_seed_no_mean():
    assert summary([0.3]).std is None
    assert summary([]).mean is None


def test_interval_of_an_arm_is_students():
    assert half_interval(summary([0.30, 0.32, 0.37])) == pytest.approx(
        4.303 * (0.0026 / 2 / 3) ** 0.5, abs=1e-5
    )
    assert half_interval(summary([0.3])) is None


def test_difference_is_paired_by_seed():
    """By seed +0.01, +0.03 and +0.02: mean 0.02, deviation 0.01, and t of 2 degrees at 97.5 % is 4.303."""
    told = difference({0: 0.31, 1: 0.43, 2: 0.52}, {0: 0.30, 1: 0.40, 2: 0.50})
    half = 4.303 * 0.01 / 3**0.5
    assert (told.n, told.mean) == (3, pytest.approx(0.02))
    assert [told.low, told.high] == pytest.approx([0.02 - half, 0.02 + half], abs=1e-5)


def test_only_common_seeds_are_compared():
    told = difference({0: 0.5, 1: 0.9}, {0: 0.4, 2: 0.1})
    assert (told.n, told.mean, told.low) == (1, pytest.approx(0.1), None)
    assert difference({0: 0.5}, {1: 0.5}) is None
