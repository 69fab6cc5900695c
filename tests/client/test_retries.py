from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from xpaste_ray.client.errors import Busy, Unavailable
from xpaste_ray.client.retries import Attempts, Retries, retry_after_s
from xpaste_ray.errors import ConfigError


def test_waits_double_up_to_a_ceiling_with_full_jitter():
    retries = Retries(tries=100, seconds=1e6, first_wait_s=1.0, longest_wait_s=5.0)
    assert [retries.longest_wait_after(tries) for tries in (1, 2, 3, 4, 99)] == [1, 2, 4, 5, 5]
    waits = []
    for _ in range(400):
        attempts = Attempts(retries)
        attempts.wait_s(Busy(""))
        waits.append(attempts.wait_s(Busy("")))  # the second: up to 2 s
    assert min(waits) < 0.2 and max(waits) > 1.8 and max(waits) <= 2.0


def test_what_the_service_asks_for_comes_before_the_jitter():
    attempts = Attempts(Retries(first_wait_s=0.5))
    assert 7.0 <= attempts.wait_s(Busy("", retry_after_s=7.0)) <= 7.5


def test_tries_end_by_number_and_by_time():
    attempts = Attempts(Retries(tries=2))
    attempts.wait_s(Busy(""))
    with pytest.raises(Unavailable, match="after 2 tries"):
        attempts.wait_s(Busy(""))
    with pytest.raises(Unavailable, match="after 1 tries"):
        Attempts(Retries(seconds=5)).wait_s(Busy("", retry_after_s=6))


@pytest.mark.parametrize(
    "told, seconds", [("12", 12), (" 0 ", 0), ("-3", 0), ("soon", 0), ("", 0), ("9" * 400, 999_999_999)]
)
def test_retry_after_in_seconds(told, seconds):
    assert retry_after_s({"retry-after": told}) == seconds


def test_retry_after_as_a_date():
    now = datetime.now(UTC)
    in_a_minute = format_datetime(now + timedelta(seconds=60), usegmt=True)
    assert 57 <= retry_after_s({"retry-after": in_a_minute}) <= 60
    assert retry_after_s({"retry-after": format_datetime(now - timedelta(days=1), usegmt=True)}) == 0


def test_ceilings_that_make_no_sense_are_refused():
    for wrong in ({"tries": 0}, {"seconds": 0}, {"longest_wait_s": -1.0}):
        with pytest.raises(ConfigError, match="retries"):
            Retries(**wrong)
