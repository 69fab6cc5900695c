"""Rows through a model, in batches of one fixed shape, whatever fails."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from xpaste_ray.models.cuda import free_cached_memory
from xpaste_ray.stages.faults import Failure, failure_of

_LOG = logging.getLogger(__name__)

Row = TypeVar("Row")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """A row's result, or why there is none. degraded: computed in a smaller shape than usual."""

    value: Result | None
    failure: Failure | None = None
    degraded: bool = False


class ShapedBatches(Generic[Row, Result]):
    """Calls `run` on exactly `size` rows at a time; the last batch is padded with its last row.

    Another shape would round differently, and a row must not depend on how many neighbours it has. Two
    things break that rule, and only so far:

    - Out of memory on the GPU: half as many rows a batch, from then on, for as long as this object lives;
      what is made so is `degraded`. A row that does not fit alone fails, and may be tried another time.
    - Any other exception: the rows of the batch are tried one by one, each padded to the usual shape, and
      those that raise again fail under `reason`.

    `label` names a row in the log. Raises DeviceLost, see `failure_of`.
    """

    def __init__(
        self,
        run: Callable[[list[Row]], Sequence[Result]],
        size: int,
        reason: str,
        label: Callable[[Row], str],
    ) -> None:
        self._run, self._size, self._reason, self._label = run, size, reason, label
        self._cap = size

    def __call__(self, rows: Sequence[Row]) -> list[Outcome[Result]]:
        outcomes: list[Outcome[Result]] = []
        while len(outcomes) < len(rows):
            outcomes += self._batch(rows[len(outcomes) : len(outcomes) + self._cap])
        return outcomes

    def _batch(self, rows: Sequence[Row]) -> list[Outcome[Result]]:
        """Outcomes of these rows, at most `_cap`; of none of them if the cap is lower now."""
        try:
            values = self._run([*rows, *[rows[-1]] * (self._cap - len(rows))])
            degraded = self._cap < self._size
            return [Outcome(value, degraded=degraded) for value, _ in zip(values, rows, strict=False)]
        except Exception as error:
            failure = failure_of(error, self._reason)
            if failure.reason != "out_of_memory":
                _LOG.exception("%s: %s", failure.reason, ", ".join(map(self._label, rows)))
        # Outside of the handler: there the traceback would hold the failed call's tensors.
        if failure.reason == "out_of_memory":
            free_cached_memory()
            if self._cap > 1:
                self._cap //= 2
                _LOG.warning("out of memory on the GPU: %d rows a batch from now on", self._cap)
                return []
        if len(rows) == 1:
            _LOG.error("%s: %s is rejected", failure.reason, self._label(rows[0]))
            return [Outcome(None, failure)]
        return [outcome for row in rows for outcome in self([row])]
