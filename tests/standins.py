"""Stand-ins for the models: neither torch nor weights; they sleep where asked and fail where asked.

What they make follows from the prompt alone, so that runs can be compared byte for byte.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xpaste_ray.pipelines.pool import StageCode
from xpaste_ray.records import Candidate, Proposal
from xpaste_ray.rng import rng_for


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


class _StandIn:
    stage: str

    def __init__(self, seconds: float = 0.0, gpu: Gpu | None = None) -> None:
        self._seconds, self._gpu = seconds, gpu

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        seconds = self._seconds * len(candidates)
        if self._gpu:
            with self._gpu.busy(self.stage, len(candidates)):
                time.sleep(seconds)
        else:
            time.sleep(seconds)
        return [self._make(candidate) for candidate in candidates]

    def _make(self, candidate: Candidate) -> Candidate:
        raise NotImplementedError


class Source(_StandIn):
    """A disc on white; its colour and radius follow from the prompt's seed. seconds: for each image."""

    stage = "source"

    def __init__(self, seconds: float = 0.0, side_px: int = 32, gpu: Gpu | None = None) -> None:
        super().__init__(seconds, gpu)
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


def code(**kwargs: dict[str, object]) -> dict[str, StageCode]:
    """All three stages; `source=...`, `segment=...`, `score=...`: the arguments of their constructors."""
    return {
        name: StageCode(f"{__name__}:{name.capitalize()}", kwargs.get(name, {}))
        for name in ("source", "segment", "score")
    }
