"""Work on a replica's cores: so many pieces at a time, so many requests waiting, and no more."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from xpaste_ray.serve.problems import too_many

T = TypeVar("T")

_WEIGHT = 0.2  # of the newest piece in the mean


class Cores:
    """Threads that compose; OpenCV lets go of the interpreter, so each has a core.

    A piece that has begun is finished, whoever waits for it or not: its core is free only then.
    """

    def __init__(self, threads: int, waiting: int) -> None:
        self._threads, self._most = threads, waiting
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="compose")
        self._free = threads
        self._turns: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque())  # of begun answers, of new
        self._mean_s = 0.0
        self.waiting = 0
        """Requests without a core."""

    def admit(self) -> None:
        """Tell a new request to come again, by Problem 429, if enough of them wait."""
        if not self._free and self.waiting >= self._most:
            raise too_many((self.waiting + 1) * self._mean_s / self._threads)

    async def run(self, work: Callable[[], T], begun: bool = False, patience_s: float | None = None) -> T:
        """The result of `work` in a thread, once a core is free; TimeoutError if none is in `patience_s`.

        begun: of an answer on which a core has worked. It goes before all that are not, or its client would
        wait for each part as for a new request.
        """
        self.waiting += 1
        try:
            async with asyncio.timeout(patience_s):
                await self._turn(begun)
        finally:
            self.waiting -= 1
        began = time.perf_counter()
        try:
            future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        except BaseException:
            self._release()
            raise

        def finished(done: "asyncio.Future[T]") -> None:
            self._release()
            took = time.perf_counter() - began
            self._mean_s = took if not self._mean_s else (1 - _WEIGHT) * self._mean_s + _WEIGHT * took
            if not done.cancelled():
                done.exception()  # whoever waited may be gone: it is heard

        future.add_done_callback(finished)
        return await asyncio.shield(future)

    async def _turn(self, begun: bool) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        turns = self._turns[0 if begun else 1]
        turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the core came, and whoever waited for it is gone
                self._release()
            raise

    def _release(self) -> None:
        for turns in self._turns:
            while turns:
                turn = turns.popleft()
                if not turn.cancelled():
                    turn.set_result(None)
                    return
        self._free += 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
