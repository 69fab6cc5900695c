"""When a request is sent again. Every request may be: what is answered follows from the request alone."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from xpaste_ray.client.errors import Passing, Unavailable
from xpaste_ray.errors import ConfigError

_chance = random.SystemRandom()  # forked workers would share the state of any other, and wait in step


@dataclass(frozen=True, slots=True)
class Retries:
    """Ceilings of one call, and how long it waits between tries.

    tries: in all. seconds: from the first try to the last, waits included. Before try n + 1 it waits what
    the service asks for, and a random time of up to `first_wait_s` x 2^(n - 1), `longest_wait_s` at most.
    """

    tries: int = 8
    seconds: float = 180.0
    first_wait_s: float = 0.25
    longest_wait_s: float = 10.0

    def __post_init__(self) -> None:
        if self.tries < 1 or min(self.seconds, self.first_wait_s, self.longest_wait_s) <= 0:
            raise ConfigError("retries: tries must be 1 at least, and all seconds above 0")

    def longest_wait_after(self, tries: int) -> float:
        """Seconds, beside what the service asks for."""
        return min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(tries - 1, 60))


DEFAULT_RETRIES = Retries()


class Attempts:
    """The tries of one call."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._began = time.monotonic()
        self._failed = 0

    @property
    def seconds_left(self) -> float:
        """Until the call must be over; 0 if it is."""
        return max(self._began + self._retries.seconds - time.monotonic(), 0.0)

    def wait_s(self, failure: Passing) -> float:
        """How long to wait before the next try. Unavailable if there is none."""
        self._failed += 1
        wait_s = failure.retry_after_s + _chance.uniform(0, self._retries.longest_wait_after(self._failed))
        if self._failed >= self._retries.tries or wait_s >= self.seconds_left:
            raise self._given_up(failure) from failure
        return wait_s

    def _given_up(self, failure: Passing) -> Unavailable:
        took = time.monotonic() - self._began
        asked = f" (it asks to wait {failure.retry_after_s:.0f} s)" if failure.retry_after_s else ""
        return Unavailable(
            f"{failure}{asked}; given up after {self._failed} tries in {took:.1f} s: see whether the service "
            "runs and how busy it is, then ask again, or allow more with retries=Retries(tries=, seconds=)",
            tries=self._failed,
        )


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds of an answer's Retry-After, which may be a date: by the service's clock, if it tells it."""
    told = headers.get("retry-after", "").strip()
    if told.isdecimal():
        return float(told[:9])
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    until = _date(told)
    return max((until - now).total_seconds(), 0.0) if until else 0.0


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
