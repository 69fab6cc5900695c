"""Several things at once, each in a thread of its own, while the main thread stays free for Ctrl-C."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Queue
from typing import TypeVar

from xpaste_ray.pace import NOTHING_KNOWN, StageState
from xpaste_ray.pipelines.job import Progress

_JOIN_S = 1.0  # between two words to what must end

_Thing = TypeVar("_Thing")


def each_done(
    things: Sequence[_Thing], slots: int, work: Callable[[_Thing, int], None], cancel: Callable[[], None]
) -> Iterator[tuple[_Thing, Exception | None]]:
    """Work on all, at most `slots` at a time; each is given back when it has ended, with what it raised. Its
    slot is free again when the caller goes on.

    work: of a thing, in slot 0, 1, ... With one slot it is done in this thread. cancel: ends what is at work,
    and is called until all threads have ended, if the caller does not go on to the end.
    """
    if slots == 1:
        for thing in things:
            yield thing, _error_of(work, thing, 0)
    else:
        yield from _in_threads(things, slots, work, cancel)


def _in_threads(
    things: Sequence[_Thing], slots: int, work: Callable[[_Thing, int], None], cancel: Callable[[], None]
) -> Iterator[tuple[_Thing, Exception | None]]:
    waiting, free = deque(things), deque(range(slots))
    ended: Queue[tuple[_Thing, int, Exception | None]] = Queue()
    running: dict[int, threading.Thread] = {}

    def in_slot(thing: _Thing, slot: int) -> None:
        ended.put((thing, slot, _error_of(work, thing, slot)))

    try:
        while waiting or running:
            while waiting and free:
                slot = free.popleft()
                running[slot] = threading.Thread(target=in_slot, args=(waiting.popleft(), slot), daemon=True)
                running[slot].start()
            thing, slot, error = ended.get()
            running.pop(slot).join()
            yield thing, error
            free.append(slot)
    finally:
        while alive := [thread for thread in running.values() if thread.is_alive()]:
            cancel()
            alive[0].join(_JOIN_S)


def _error_of(work: Callable[[_Thing, int], None], thing: _Thing, slot: int) -> Exception | None:
    try:
        work(thing, slot)
    except Exception as error:
        return error
    return None


class OneOfSeveral:
    """The progress of one thing among others: what it says begins with its name, and its stages have that of
    its slot, if there are several."""

    def __init__(self, progress: Progress, name: str, slot: int | None, lock: threading.Lock) -> None:
        self._progress, self._name, self._lock = progress, name, lock
        self._slot = "" if slot is None else f" {slot + 1}"

    def begin(self, totals: dict[str, int], unit: str) -> None:
        with self._lock:
            self._progress.begin({f"{stage}{self._slot}": total for stage, total in totals.items()}, unit)

    def advance(self, stage: str, done: int, state: StageState = NOTHING_KNOWN) -> None:
        with self._lock:
            self._progress.advance(f"{stage}{self._slot}", done, state)

    def say(self, text: str) -> None:
        with self._lock:
            self._progress.say(f"{self._name}: {text}")
