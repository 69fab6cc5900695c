import pytest

from xpaste_ray.models.rates import learning_rate


def test_rate_rises_while_it_warms_up_and_falls_to_nothing():
    rates = [learning_rate(step, 100, 1.0, 10) for step in range(101)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)]) and rates[10] == 1.0
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True) and rates[100] == pytest.approx(0)
    assert learning_rate(0, 1, 1.0, 1) == 1.0
    assert learning_rate(0, 1, 1.0, 0) == 1.0
