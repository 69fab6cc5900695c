"""Stand-ins for the models: neither torch nor weights; they sleep where asked and fail where asked.

What they make follows from the prompt alone, so that runs can be compared byte for byte.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xpaste_ray.errors import DeviceLost
from xpaste_ray.pipelines.stage_code import StageCode
from xpaste_ray.records import Candidate, Proposal
from xpaste_ray.rng import rng_for
from xpaste_ray.stages.batches import ShapedBatches


@dataclass(frozen=True)
class Gpu:
    """One GPU for all processes that share it: whoever computes holds its lock while it sleeps, and notes
    when. `folder`: for the locks and the notes."""

    folder: Path

    @contextmanager
    def busy(self, stage: str, images: int) -> Iterator[None]:
        import ray

        context = ray.get_runtime_context()
        ids = context.get_accelerator_ids()["GPU"] or ["none"]
        name = f"{context.get_node_id()[:8]}-{'-'.join(ids)}"
        with (self.folder / f"{name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            began = time.time()
            yield
            with (self.folder / f"{name}.{os.getpid()}.txt").open("a") as notes:
                notes.write(f"{stage} {began} {time.time()} {images}\n")


def _raise(error: BaseException) -> None:
    raise error


STAGES = ("source", "segment", "score")


class Passing(Exception):
    """Stands for a failure that may have passed another time: the image is rejected, `transient`."""


_FAULTS: dict[str, Callable[[], object]] = {
    "pass": lambda: _raise(Passing()),
    "raise": lambda: _raise(ValueError("broken row")),
    "exit": lambda: os._exit(7),
    "sys.exit": lambda: sys.exit(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "device lost": lambda: _raise(DeviceLost("CUDA error: unspecified launch failure")),
}


@dataclass(frozen=True)
class Fault:
    """What goes wrong, at which images, "banana-1" being the banana of round 1; at "load": in the
    constructor. `times`: how often in all, over all processes, and None always; `folder` is for the count.
    """

    kind: str
    at: tuple[str, ...]
    folder: Path
    times: int | None = None

    def strike(self, place: str) -> None:
        """Go wrong, if it is time and the place."""
        if place in self.at and (self.times is None or self._claim(place)):
            _FAULTS[self.kind]()

    def _claim(self, place: str) -> bool:
        """Take one of the times for this place; no two processes get the same."""
        for number in range(self.times or 0):
            with suppress(FileExistsError):
                (self.folder / f"{self.kind}-{place}-{number}.struck").touch(exist_ok=False)
                return True
        return False


class _StandIn:
    """seconds: for each image; `uneven`: times 0 to 6 for each batch, from its first image's seed. gpu: sleep
    with its lock. fault: go wrong. notes: a folder in which each process leaves a file "<stage>.<pid>", for
    those that look for it, and adds a line for each batch."""

    stage: str

    def __init__(
        self,
        seconds: float = 0.0,
        gpu: Gpu | None = None,
        fault: Fault | None = None,
        notes: Path | None = None,
        uneven: bool = False,
    ) -> None:
        self._seconds, self._gpu, self._fault, self._notes = seconds, gpu, fault, notes
        self._uneven = uneven
        self._note("loaded")
        self._strike("load")

    def _note(self, text: str) -> None:
        if self._notes:
            with (self._notes / f"{self.stage}.{os.getpid()}").open("a") as file:
                file.write(f"{text}\n")

    def _strike(self, place: str) -> bool:
        """Go wrong, if it is time; whether that may pass."""
        try:
            if self._fault:
                self._fault.strike(place)
        except Passing:
            return True
        return False

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        names = [place(candidate) for candidate in candidates]
        self._note(" ".join(names))
        passing = {name for name in names if self._strike(name)}
        seconds = self._seconds * (candidates[0].prompt.seed % 7 if self._uneven else len(candidates))
        if self._gpu:
            with self._gpu.busy(self.stage, len(candidates)):
                time.sleep(seconds)
        else:
            time.sleep(seconds)
        return [
            replace(candidate, status="rejected", reason="unreachable", transient=True)
            if name in passing
            else self._make(candidate)
            for name, candidate in zip(names, candidates, strict=True)
        ]

    def _make(self, candidate: Candidate) -> Candidate:
        raise NotImplementedError


class Source(_StandIn):
    """A disc on white; its colour and radius follow from the prompt's seed."""

    stage = "source"

    def __init__(self, *args: Any, side_px: int = 32, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._side_px = side_px
        y, x = np.mgrid[:side_px, :side_px] - (side_px - 1) / 2
        self._from_centre = np.hypot(y, x)

    def _make(self, candidate: Candidate) -> Candidate:
        rng = rng_for(candidate.prompt.seed, "stand-in")
        side = self._side_px
        in_disc = self._from_centre <= side * rng.uniform(0.2, 0.45)
        colours = np.array([[255, 255, 255], rng.integers(0, 200, 3)], np.uint8)
        image = colours.take(in_disc.view(np.uint8), axis=0)
        return replace(candidate, model="stand-in", image=image)


class SmallGpu(Source):
    """A source on a GPU whose memory holds only `rows` images at a time, of batches of `size`."""

    def __init__(self, *args: Any, size: int, rows: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rows = rows
        self._batches = ShapedBatches(self._run, size, "generation_failed", place)

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        done = []
        for candidate, outcome in zip(candidates, self._batches(candidates), strict=True):
            if outcome.failure:
                reason, transient = outcome.failure.reason, outcome.failure.transient
                made = replace(candidate, status="rejected", reason=reason, transient=transient)
            else:
                made = outcome.value
            done.append(replace(made, degraded_shape=outcome.degraded))
        return done

    def _run(self, candidates: list[Candidate]) -> list[Candidate]:
        if len(candidates) > self._rows:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return super().__call__(candidates)


class Segment(_StandIn):
    """What is not white."""

    stage = "segment"

    def _make(self, candidate: Candidate) -> Candidate:
        if candidate.status != "ok":
            return candidate
        mask = np.where(candidate.image[..., 0] < 255, np.uint8(255), np.uint8(0))
        proposal = Proposal("stand-in", 0, mask, area_fraction=float((mask > 128).mean()))
        return replace(candidate, proposals=(proposal,))


class Score(_StandIn):
    """60 to 100, from the prompt's seed."""

    stage = "score"

    def _make(self, candidate: Candidate) -> Candidate:
        logit = float(rng_for(candidate.prompt.seed, "stand-in score").uniform(60, 100))
        scored = tuple(replace(p, scores=(("clip_logit", logit),)) for p in candidate.proposals)
        return replace(candidate, proposals=scored)


def place(candidate: Candidate) -> str:
    """An image as a `Fault` names it."""
    return f"{candidate.prompt.category}-{candidate.prompt.index}"


def code(**kwargs: dict[str, object]) -> dict[str, StageCode]:
    """All three stages; `source=...`, `segment=...`, `score=...`: the arguments of their constructors, and
    `target`, "module:Class", for another one than `Source`, `Segment` or `Score`."""
    told = {name: {"target": f"{__name__}:{name.capitalize()}", **kwargs.get(name, {})} for name in STAGES}
    return {
        name: StageCode(given["target"], {key: value for key, value in given.items() if key != "target"})
        for name, given in told.items()
    }
