"""How fast a stage goes, how long it will still take, and how a person reads it."""

from collections import deque
from dataclasses import dataclass

_WINDOW_S = 60.0
_MIN_STEPS = 5  # a unit of a slow stage takes longer than the window


@dataclass(frozen=True, slots=True)
class Working:
    """How much of something has work: "6 of 8 GPUs"."""

    busy: float
    of: float
    what: str


@dataclass(frozen=True, slots=True)
class StageState:
    """What a stage does at one moment, beside its units. None: not known, or nothing to tell.

    images: done so far. queued: units that wait for it. loading: actors that load their model. waiting:
    nothing has come to it yet.
    """

    images: int | None = None
    queued: int | None = None
    loading: int = 0
    waiting: bool = False
    working: Working | None = None


NOTHING_KNOWN = StageState()


@dataclass(frozen=True, slots=True)
class _Step:
    at_s: float
    units: int
    images: int


class Pace:
    """The rates of the last minute, or of the last five steps where they took longer.

    Times are seconds of any one clock. The stage begins at `began_s`.
    """

    def __init__(self, began_s: float) -> None:
        self._steps = deque([_Step(began_s, 0, 0)])

    def note(self, now_s: float, units: int, images: int) -> None:
        """So much is done by now."""
        last = self._steps[-1]
        if (units, images) == (last.units, last.images):
            return
        self._steps.append(_Step(now_s, units, images))
        while len(self._steps) > _MIN_STEPS + 1 and self._steps[1].at_s <= now_s - _WINDOW_S:
            self._steps.popleft()

    def rates(self, now_s: float) -> tuple[float, float]:
        """Units and images a second; zero as long as nothing is known."""
        first, last = self._steps[0], self._steps[-1]
        seconds = now_s - first.at_s
        if seconds <= 0:
            return 0.0, 0.0
        return (last.units - first.units) / seconds, (last.images - first.images) / seconds


def status_text(done: int, total: int, unit: str, state: StageState, rates: tuple[float, float]) -> str:
    """ "38.1 images/s, queue 4, 8 of 8 GPUs busy, 2 h 11 min left"; `rates`: see `Pace.rates`."""
    units_per_s, images_per_s = rates
    told = []
    if units_per_s:
        told.append(f"{images_per_s:.1f} images/s" if state.images else f"{units_per_s:.1f} {unit}/s")
    if state.queued is not None:
        told.append(f"queue {state.queued:,}")
    if state.loading:
        told.append(f"{state.loading} loading a model")
    if state.working:
        told.append(f"{state.working.busy:.3g} of {state.working.of:.3g} {state.working.what} busy")
    if units_per_s and done < total:
        told.append(f"{duration((total - done) / units_per_s)} left")
    return ", ".join(told)


def duration(seconds: float) -> str:
    """The two largest units: "2 h 11 min", "3 min 20 s", "45 s"."""
    whole = round(seconds)
    parts = [("d", whole // 86400), ("h", whole // 3600 % 24), ("min", whole // 60 % 60), ("s", whole % 60)]
    first = next((i for i, (_, count) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {name}" for name, count in parts[first : first + 2])
