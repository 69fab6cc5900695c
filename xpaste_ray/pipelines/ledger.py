"""What is in flight, and how often it took a process down with it.

Attempts are counted here because they must outlive the processes that make them. A unit that was in
flight at two deaths is run row by row; a row that was in flight at three deaths there is rejected. So a
row that kills its process is found, while one that was only near when something else killed it is not.

A unit may be in flight twice at one time: on a node that was given up but still runs, and on the one that
took over. Nobody can tell the two apart, so a death may then be missed or put to a neighbouring row's
account, once. And should the ledger's own process die, it starts again with empty accounts. Neither loses a
row: at worst a row that kills its process does so a few times more.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from xpaste_ray.errors import RunError
from xpaste_ray.records import Candidate

ROWS_AFTER_DEATHS = 2  # of a unit
REJECT_AFTER_DEATHS = 3  # of a row, while the unit's rows run one by one

# Of a stage, without any progress. An actor may meet a unit whose first rows kill: 2 deaths, then 3 a row.
BASE_DEATHS, DEATHS_PER_ACTOR = 10, 6

Key = tuple[str, str]  # stage, unit


@dataclass(slots=True)
class _Rows:
    """A unit that runs row by row. What is done of it is kept, so that each attempt gets further."""

    deaths: Counter[int] = field(default_factory=Counter)
    in_flight: int | None = None
    done: dict[int, Candidate] = field(default_factory=dict)


@dataclass(slots=True)
class StageTotals:
    units: int = 0
    images: int = 0
    seconds: float = 0.0
    load_seconds: float = 0.0
    loads: int = 0


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What the driver asks for while it waits, and at the end."""

    failure: str | None
    deaths: dict[str, int]
    totals: dict[str, StageTotals]
    loading: dict[str, int] = field(default_factory=dict)  # actors, by stage
    in_flight: dict[str, int] = field(default_factory=dict)  # units, by stage


class Ledger:
    """Called by every actor before and after each unit. `actors`: how many each stage has.

    `failure`: why the run cannot go on, once that is so; whoever begins something then gets a RunError.
    Deaths in a stage are allowed as long as it gets further: an image was made. Rejecting one whose row
    kills its process is not getting further, else a stage that always dies would reject everything.
    """

    def __init__(self, actors: dict[str, int]) -> None:
        self.failure: str | None = None
        self.deaths: Counter[str] = Counter()
        self.totals: dict[str, StageTotals] = {stage: StageTotals() for stage in actors}
        self._actors = actors
        self._without_progress: Counter[str] = Counter()
        self._loading: Counter[str] = Counter()
        self._in_flight: set[Key] = set()
        self._unit_deaths: Counter[Key] = Counter()
        self._rows: defaultdict[Key, _Rows] = defaultdict(_Rows)

    def loading(self, stage: str) -> None:
        """An actor begins to load its model. More at once than the stage has actors: one has died."""
        self._loading[stage] += 1
        if self._loading[stage] > self._actors[stage]:
            self._loading[stage] -= 1
            self._died(stage, "while it loaded its model")
        self._check()

    def loaded(self, stage: str, seconds: float) -> None:
        self._loading[stage] = max(self._loading[stage] - 1, 0)  # an earlier ledger may have noted its begin
        self.totals[stage].loads += 1
        self.totals[stage].load_seconds += seconds

    def begin(self, stage: str, unit: str) -> dict[int, Candidate] | None:
        """An actor begins a unit. None: run it as a whole. Else row by row, but for those that are done."""
        key = (stage, unit)
        if key in self._in_flight:
            self._unit_deaths[key] += 1
            self._died(stage, f"at unit {unit}")
        self._check()
        self._in_flight.add(key)
        if self._unit_deaths[key] < ROWS_AFTER_DEATHS:
            return None
        rows = self._rows[key]
        if rows.in_flight is not None:
            rows.deaths[rows.in_flight] += 1
            rows.in_flight = None
        return rows.done

    def begin_row(self, stage: str, unit: str, row: int) -> bool:
        """An actor begins a row of a unit that runs row by row. False: reject it instead."""
        rows = self._rows[stage, unit]
        if rows.deaths[row] >= REJECT_AFTER_DEATHS:
            return False
        rows.in_flight = row
        return True

    def finish_row(self, stage: str, unit: str, row: int, done: Candidate) -> None:
        rows = self._rows[stage, unit]
        rows.in_flight, rows.done[row] = None, done
        self._without_progress[stage] = 0

    def finish(self, stage: str, unit: str, images: int, seconds: float) -> None:
        key = (stage, unit)
        if key not in self._rows:
            self._without_progress[stage] = 0
        self._in_flight.discard(key)
        self._unit_deaths.pop(key, None)
        self._rows.pop(key, None)
        totals = self.totals[stage]
        totals.units += 1
        totals.images += images
        totals.seconds += seconds

    def state(self) -> LedgerState:
        in_flight = Counter(stage for stage, _ in self._in_flight)
        return LedgerState(self.failure, dict(self.deaths), self.totals, dict(self._loading), in_flight)

    def fail(self, reason: str) -> None:
        """Something went wrong that no other attempt would mend. The first reason is kept."""
        self.failure = self.failure or reason

    def _check(self) -> None:
        if self.failure:
            raise RunError(self.failure)

    def _died(self, stage: str, when: str) -> None:
        self.deaths[stage] += 1
        self._without_progress[stage] += 1
        deaths = self._without_progress[stage]
        if deaths > BASE_DEATHS + DEATHS_PER_ACTOR * self._actors[stage]:
            self.fail(
                f"the processes of stage {stage!r} keep dying ({deaths} deaths without any progress, the "
                f"last {when}): look at Ray's logs, most often memory is short"
            )
