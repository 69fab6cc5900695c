"""Rates and times left, with times in seconds that a person can follow."""

import pytest

from xpaste_ray.pace import NOTHING_KNOWN, Pace, StageState, Working, duration, status_text


def test_rate_is_what_was_done_since_the_stage_began():
    pace = Pace(100.0)
    pace.note(104.0, 2, 32)
    pace.note(108.0, 4, 64)
    assert pace.rates(108.0) == (0.5, 8.0)


def test_rate_falls_while_nothing_gets_done():
    pace = Pace(0.0)
    pace.note(10.0, 5, 80)
    pace.note(20.0, 5, 80)
    assert pace.rates(20.0) == (0.25, 4.0)


def test_rate_forgets_what_is_older_than_a_minute():
    pace = Pace(0.0)
    for second in range(1, 101):  # a unit a second, then ten a second
        pace.note(second, second, 0)
    for second in range(101, 201):
        pace.note(second, 100 + 10 * (second - 100), 0)
    assert pace.rates(200.0) == (10.0, 0.0)


def test_rate_of_slow_units_spans_five_of_them():
    pace = Pace(0.0)
    for unit in range(1, 9):  # one in 100 s
        pace.note(100.0 * unit, unit, 0)
    assert pace.rates(800.0) == (0.01, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (45, "45 s"), (200, "3 min 20 s"), (7860, "2 h 11 min"), (3600, "1 h 0 min"),
     (90000, "1 d 1 h")],
)  # fmt: skip
def test_duration_in_its_two_largest_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("state", "rates", "text"),
    [
        pytest.param(NOTHING_KNOWN, (0.0, 0.0), "", id="nothing"),
        pytest.param(NOTHING_KNOWN, (0.5, 0.0), "0.5 units/s, 3 min 0 s left", id="units"),
        pytest.param(
            StageState(160, 4, working=Working(8, 8, "GPUs")), (2.5, 40.0),
            "40.0 images/s, queue 4, 8 of 8 GPUs busy, 36 s left", id="all",
        ),
        pytest.param(
            StageState(0, None, 2, working=Working(0.75, 2, "GPUs")), (0.0, 0.0),
            "2 loading a model, 0.75 of 2 GPUs busy", id="loading",
        ),
    ],
)  # fmt: skip
def test_status_of_10_of_100_units(state, rates, text):
    assert status_text(10, 100, "units", state, rates) == text


def test_nothing_is_left_of_a_finished_stage():
    assert status_text(100, 100, "units", StageState(1600), (2.5, 40.0)) == "40.0 images/s"
