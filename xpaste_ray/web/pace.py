"""How often a host is asked: places in a queue, a fixed time apart."""

import time
from collections.abc import Callable
from typing import Protocol

MAX_HOLD_S = 60.0  # of what a server asks for

_REMEMBERED = 10_000  # hosts, before those whose queue is over are forgotten


class Pace(Protocol):
    """How all that fetch share a host, wherever they are."""

    async def reserve(self, host: str) -> float:
        """Take the host's next free moment: how many seconds from now it is."""
        ...

    async def hold(self, host: str, seconds: float) -> None:
        """Nobody is to ask the host for so long, at most `MAX_HOLD_S`, beside those who have a moment."""
        ...


class HostQueue:
    """The moments at which each host may be asked, 1 / `requests_per_s` seconds apart. `clock`: seconds."""

    def __init__(self, requests_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._apart_s, self._clock = 1 / requests_per_s, clock
        self._free_at: dict[str, float] = {}

    def reserve(self, host: str) -> float:
        """See `Pace`."""
        now = self._clock()
        if len(self._free_at) > _REMEMBERED:
            self._free_at = {host: at for host, at in self._free_at.items() if at > now}
        at = max(now, self._free_at.get(host, now))
        self._free_at[host] = at + self._apart_s
        return at - now

    def hold(self, host: str, seconds: float) -> None:
        """See `Pace`."""
        now = self._clock()
        until = now + min(max(seconds, 0.0), MAX_HOLD_S)
        self._free_at[host] = max(self._free_at.get(host, now), until)


class LocalPace:
    """A `HostQueue` of this process alone."""

    def __init__(self, requests_per_s: float) -> None:
        self._queue = HostQueue(requests_per_s)

    async def reserve(self, host: str) -> float:
        return self._queue.reserve(host)

    async def hold(self, host: str, seconds: float) -> None:
        self._queue.hold(host, seconds)
