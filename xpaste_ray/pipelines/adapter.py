"""Arrow batches to plain records and back: the seam between Ray Data and the stages."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, NoReturn, Protocol, runtime_checkable

import pyarrow as pa

from xpaste_ray.errors import DeviceLost, SchemaError, XPasteError
from xpaste_ray.records import (
    UNIT_IN_FLIGHT,
    Candidate,
    candidate_from_dict,
    candidate_to_dict,
    check_schema,
    unit_id,
)

Stage = Callable[[Sequence[Candidate]], list[Candidate]]

_LOG = logging.getLogger(__name__)


@runtime_checkable
class KeepsUnits(Protocol):
    """A stage that keeps something for each unit by itself, and so is told which one comes."""

    def begin_unit(self, unit: str) -> None: ...


class Attempts(Protocol):
    """The part of `Ledger` that an actor calls, wherever the ledger lives."""

    def loading(self, stage: str) -> None: ...
    def loaded(self, stage: str, seconds: float) -> None: ...
    def begin(self, stage: str, unit: str) -> dict[int, Candidate] | None: ...
    def begin_row(self, stage: str, unit: str, row: int) -> bool: ...
    def finish_row(self, stage: str, unit: str, row: int, done: Candidate) -> None: ...
    def finish(self, stage: str, unit: str, images: int, seconds: float) -> None: ...
    def fail(self, reason: str) -> None: ...


class Recorder(Protocol):
    """Where an actor tells what it did; see `metrics.py`."""

    def loaded(self, stage: str, seconds: float) -> None: ...
    def ran(
        self, stage: str, given: Sequence[Candidate], done: Sequence[Candidate], seconds: float
    ) -> None: ...


class Opener(Protocol):
    """Where the first stage of a pass gets its units from; see `units.py`."""

    def __call__(self, batch: pa.Table) -> Iterator[dict[str, Any]]: ...


class StageActor:
    """Runs one stage on units, each of which it hands on by itself.

    `stage` is "module:Class". It is imported and built here, in the actor, once: weights never travel,
    and the driver needs neither torch nor its memory. `opener`: for the first stage, which reads work
    lists instead of units in flight.
    """

    def __init__(
        self,
        name: str,
        stage: str,
        stage_kwargs: dict[str, Any],
        attempts: Attempts,
        opener: Opener | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._name, self._attempts, self._open = name, attempts, opener or self._in_flight
        self._recorder = recorder
        attempts.loading(name)
        began = time.perf_counter()
        module, _, attribute = stage.partition(":")
        try:
            self._stage: Stage = getattr(import_module(module), attribute)(**stage_kwargs)
        except (DeviceLost, SystemExit) as error:
            self._end_process(error)
        except Exception as error:
            # Told to the ledger, which ends the run. Raised here, Ray would print the trace, for every
            # actor, above the reason.
            _LOG.exception("stage %r cannot start", name)
            attempts.fail(f"stage {name!r} cannot start: {error}")
            return
        seconds = time.perf_counter() - began
        attempts.loaded(name, seconds)
        if recorder:
            recorder.loaded(name, seconds)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        try:
            for row in self._open(batch):
                began = time.perf_counter()
                done = self._run(row)
                made = {**row, "candidates": [candidate_to_dict(candidate) for candidate in done]}
                seconds = time.perf_counter() - began
                yield pa.Table.from_pylist([made], schema=UNIT_IN_FLIGHT)
                # Only now it is handed on: what dies over that counts as the unit's death, too.
                unit = unit_id(row["round"], row["unit"])
                self._attempts.finish(self._name, unit, len(done), seconds)
                if self._recorder:
                    self._recorder.ran(self._name, row["candidates"], done, seconds)
        except (DeviceLost, SystemExit) as error:
            self._end_process(error)
        except XPasteError as error:
            self._attempts.fail(str(error))
            raise
        except Exception as error:
            self._attempts.fail(f"stage {self._name!r}: {type(error).__name__}: {error}")
            raise

    def _end_process(self, error: BaseException) -> NoReturn:
        """A broken CUDA context stays broken, and Ray does not replace an actor that leaves by itself: only a
        process that dies is started again."""
        _LOG.error("stage %r: this process ends: %r", self._name, error)
        os._exit(1)

    def _in_flight(self, batch: pa.Table) -> Iterator[dict[str, Any]]:
        check_schema(batch.schema, UNIT_IN_FLIGHT, self._name)
        for row in batch.to_pylist():
            yield {**row, "candidates": [candidate_from_dict(candidate) for candidate in row["candidates"]]}

    def _run(self, row: dict[str, Any]) -> list[Candidate]:
        unit, candidates = unit_id(row["round"], row["unit"]), row["candidates"]
        done_rows = self._attempts.begin(self._name, unit)
        if isinstance(self._stage, KeepsUnits):
            self._stage.begin_unit(unit)
        if done_rows is None:
            done = self._try(candidates)
        else:
            done = [self._run_row(unit, i, one, done_rows) for i, one in enumerate(candidates)]
        if _ids(done) != _ids(candidates):
            raise SchemaError(f"stage {self._name!r}: it must hand on every candidate once, in order")
        return done

    def _try(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The stage's result; where it raises, that of each row by itself."""
        try:
            return self._stage(candidates)
        except (XPasteError, SystemExit):
            raise
        except Exception:
            if len(candidates) > 1:
                return [done for candidate in candidates for done in self._try([candidate])]
            _LOG.exception("stage %r failed at %s", self._name, candidates[0].prompt.candidate_id)
            return [replace(candidates[0], status="rejected", reason=f"{self._name}_failed")]

    def _run_row(
        self, unit: str, number: int, candidate: Candidate, done_rows: dict[int, Candidate]
    ) -> Candidate:
        if number in done_rows:
            return done_rows[number]
        if not self._attempts.begin_row(self._name, unit, number):
            return replace(candidate, status="rejected", reason="killed_worker")
        (done,) = self._try([candidate])
        self._attempts.finish_row(self._name, unit, number, done)
        return done


def _ids(candidates: Sequence[Candidate]) -> list[str]:
    return [candidate.prompt.candidate_id for candidate in candidates]
