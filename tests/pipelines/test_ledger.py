"""What the ledger concludes from who began what, with deaths told as a unit that is begun again."""

import pytest

from tests.conftest import candidates
from xpaste_ray.errors import RunError
from xpaste_ray.pipelines.ledger import BASE_DEATHS, DEATHS_PER_ACTOR, Ledger

UNIT = "00001/unit-00002"
DONE = candidates(3)


def _ledger(actors=1):
    return Ledger({"source": actors, "score": actors})


def _die(ledger, times, unit=UNIT):
    """A unit that takes its process down so often, and is begun once more."""
    for _ in range(times):
        ledger.begin("source", unit)
    return ledger.begin("source", unit)


def test_unit_runs_whole_until_its_second_death():
    ledger = _ledger()
    assert [ledger.begin("source", UNIT) for _ in range(4)] == [None, None, {}, {}]
    assert ledger.deaths == {"source": 3}


def test_finished_unit_begins_with_a_clean_account():
    """A lost result is computed again, though nothing died at it."""
    ledger = _ledger()
    _die(ledger, 2)
    ledger.finish("source", UNIT, 3, 1.0)
    assert ledger.begin("source", UNIT) is None
    assert ledger.deaths == {"source": 2}


def test_row_is_rejected_at_its_third_death_and_what_was_done_before_is_kept():
    """Row 1 of three kills. Two deaths of the unit, three of the row: five in all, with a pool of one."""
    ledger = _ledger()
    begun = []
    for _ in range(6):
        done = ledger.begin("source", UNIT)
        if done is None:
            continue  # dies as a whole
        for row in (row for row in range(3) if row not in done):
            begun.append(row)
            if not ledger.begin_row("source", UNIT, row):
                continue  # rejected
            if row == 1:
                break  # dies
            ledger.finish_row("source", UNIT, row, DONE[row])
    ledger.finish("source", UNIT, 3, 1.0)
    assert begun == [0, 1, 1, 1, 1, 2]  # row 0 once; row 1 three times, then rejected; row 2 once
    assert ledger.deaths == {"source": 5}
    assert ledger.failure is None


def test_stages_count_by_themselves():
    ledger = _ledger()
    _die(ledger, 2)
    assert ledger.begin("score", UNIT) is None


@pytest.mark.parametrize("actors", [1, 8])
def test_deaths_without_progress_end_the_run(actors):
    """Also for other units: 16 deaths with one actor, 58 with eight."""
    ledger = _ledger(actors)
    allowed = BASE_DEATHS + DEATHS_PER_ACTOR * actors
    assert allowed == {1: 16, 8: 58}[actors]
    for number in range(allowed):
        _die(ledger, 1, f"00000/unit-{number:05d}")
    with pytest.raises(RunError, match=f"'source' keep dying \\({allowed + 1} deaths without any progress"):
        _die(ledger, 1, "00001/unit-00000")


def test_deaths_are_allowed_for_ever_while_images_are_made():
    """An actor killed at each second unit, for a thousand of them."""
    ledger = _ledger()
    for number in range(1000):
        _die(ledger, number % 2, f"00000/unit-{number:05d}")
        ledger.finish("source", f"00000/unit-{number:05d}", 3, 1.0)
    assert ledger.failure is None and ledger.deaths == {"source": 500}


def test_progress_of_another_stage_does_not_keep_a_dying_one_alive():
    ledger = _ledger()
    with pytest.raises(RunError, match="keep dying"):
        for number in range(100):
            _die(ledger, 1, f"00000/unit-{number:05d}")
            ledger.finish("score", f"00000/unit-{number:05d}", 3, 1.0)


def test_rejecting_everything_is_no_progress():
    """Units of two rows of which each kills: 2 + 3 x 2 = 8 deaths a unit. The third unit is one too many."""
    ledger = _ledger()
    units = 0
    with pytest.raises(RunError, match="keep dying \\(17 deaths"):
        while True:
            unit = f"00000/unit-{units:05d}"
            while (ledger.begin("source", unit)) is None:
                pass
            for row in range(2):
                while ledger.begin_row("source", unit, row):
                    ledger.begin("source", unit)
            ledger.finish("source", unit, 2, 1.0)
            units += 1
    assert units == 2


def test_row_by_row_progress_counts():
    ledger = _ledger()
    for _ in range(BASE_DEATHS + DEATHS_PER_ACTOR):
        ledger.begin("source", UNIT)
    ledger.begin_row("source", UNIT, 0)
    ledger.finish_row("source", UNIT, 0, DONE[0])
    _die(ledger, 3)
    assert ledger.failure is None


def test_model_that_takes_its_process_down_each_time_ends_the_run():
    """Actors that begin to load while others of the stage do not die: more of them than there are do."""
    ledger = _ledger(actors=2)
    with pytest.raises(RunError, match="while it loaded its model"):
        for _ in range(1000):
            ledger.loading("source")
    assert ledger.deaths == {"source": 10 + 6 * 2 + 1}


def test_actor_killed_while_idle_is_no_death():
    ledger = _ledger()
    for _ in range(100):
        ledger.loading("source")
        ledger.loaded("source", 1.0)
    assert ledger.deaths == {} and ledger.totals["source"].loads == 100


def test_ledger_that_starts_again_in_mid_run_goes_on_with_empty_accounts():
    """Its process was killed: actors tell it the ends of what it never saw begin."""
    ledger = _ledger()
    ledger.loaded("source", 1.0)
    ledger.finish_row("source", UNIT, 0, DONE[0])
    assert ledger.begin_row("source", UNIT, 1)
    ledger.finish("source", UNIT, 3, 1.0)
    assert ledger.totals["source"].images == 3
    for _ in range(10 + 6 + 1):
        ledger.loading("source")  # one loads, the others died
    assert ledger.failure is None and ledger.deaths == {"source": 16}


def test_unit_in_flight_twice_loses_no_row_and_rejects_none():
    """The node was given up but its actor still works: it and its replacement run row by row, in turns."""
    ledger = _ledger()
    _die(ledger, 2)  # by now row by row; this one is the old actor
    assert ledger.begin_row("source", UNIT, 0)
    assert ledger.begin("source", UNIT) == {}  # the replacement: a death at row 0
    assert ledger.begin_row("source", UNIT, 0)
    ledger.finish_row("source", UNIT, 0, DONE[0])
    assert ledger.begin_row("source", UNIT, 1)
    assert ledger.begin("source", UNIT) == {0: DONE[0]}  # the replacement's replacement
    assert ledger.begin_row("source", UNIT, 1)
    for row in (1, 2):
        ledger.finish_row("source", UNIT, row, DONE[row])
    ledger.finish("source", UNIT, 3, 1.0)
    ledger.finish("source", UNIT, 3, 1.0)  # both end
    assert ledger.begin("source", UNIT) is None and ledger.failure is None


def test_first_reason_is_kept_and_told_to_all():
    ledger = _ledger()
    ledger.fail("the disk is full")
    ledger.fail("something that followed from it")
    with pytest.raises(RunError, match="the disk is full"):
        ledger.begin("source", UNIT)
    with pytest.raises(RunError, match="the disk is full"):
        ledger.loading("score")
