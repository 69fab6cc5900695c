"""From what Ray and the ledger count to what a person is told."""

from collections.abc import Mapping

from xpaste_ray.config import StageResources
from xpaste_ray.pace import NOTHING_KNOWN, StageState, Working
from xpaste_ray.pipelines.job import Progress
from xpaste_ray.pipelines.ledger import LedgerState


class Watch:
    """Tells `progress` of the stages of one stream. `plan`: of those that the ledger counts, in order."""

    def __init__(self, progress: Progress, plan: Mapping[str, StageResources] | None = None) -> None:
        self._progress, self._plan = progress, plan or {}

    def tell(self, rows: Mapping[str, int], ledger: LedgerState | None) -> None:
        """`rows`: that each of Ray's operators has handed on, by stage, in order.

        The two are a moment apart: a unit is told as done when both have counted it, so that its images are
        told with it.
        """
        before = None
        for stage, handed_on in rows.items():
            done = handed_on
            if ledger and stage in self._plan:
                done = min(handed_on, ledger.totals[stage].units)
            state = self._state(stage, done, rows.get(before or ""), ledger) if ledger else NOTHING_KNOWN
            self._progress.advance(stage, done, state)
            before = stage if stage in self._plan else None

    def _state(self, stage: str, done: int, come: int | None, ledger: LedgerState) -> StageState:
        """`come`: units that the stage before has handed on; None for the first stage."""
        busy = self._busy(stage, ledger)
        queued = None if come is None else max(0, come - done - busy)
        waiting = not (done or busy or queued)
        if stage not in self._plan:
            return StageState(queued=queued, waiting=waiting)
        images, loading = ledger.totals[stage].images, ledger.loading.get(stage, 0)
        return StageState(images, queued, loading, waiting, self._working(stage, ledger))

    def _busy(self, stage: str, ledger: LedgerState) -> int:
        """Actors with a unit in flight. A unit whose actor died is in flight until another begins it."""
        return min(ledger.in_flight.get(stage, 0), self._plan[stage].actors) if stage in self._plan else 0

    def _working(self, stage: str, ledger: LedgerState) -> Working:
        """For a stage on GPUs, of all GPUs that the plan books: an actor with a unit in flight counts for
        its share of one. For another stage, of its own actors."""
        if not self._plan[stage].gpus:
            return Working(self._busy(stage, ledger), self._plan[stage].actors, "actors")
        busy = sum(self._busy(name, ledger) * one.gpus for name, one in self._plan.items())
        return Working(busy, booked_gpus(self._plan), "GPUs")


def booked_gpus(plan: Mapping[str, StageResources]) -> float:
    return sum(one.actors * one.gpus for one in plan.values())
