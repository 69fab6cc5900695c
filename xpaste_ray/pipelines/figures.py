"""What the stages of a sitting did, and which of them decides how long it takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StageFigures:
    """Of one stage in one sitting.

    busy_s: summed over its actors. wall_s: of the pass in which it ran, from the start of its actors on.
    actors: 0 where the driver itself did the work. gpus: that all its actors book together. threads:
    of each actor.
    """

    images: int
    busy_s: float
    wall_s: float
    actors: int = 0
    gpus: float = 0.0
    threads: int = 1
    load_s: float = 0.0
    deaths: int = 0

    def with_(self, other: "StageFigures") -> "StageFigures":
        """Of both, one after the other."""
        return StageFigures(
            self.images + other.images,
            self.busy_s + other.busy_s,
            self.wall_s + other.wall_s,
            max(self.actors, other.actors),
            max(self.gpus, other.gpus),
            max(self.threads, other.threads),
            self.load_s + other.load_s,
            self.deaths + other.deaths,
        )

    @property
    def images_per_actor_second(self) -> float:
        """How fast an actor is while it works."""
        return self.images / max(self.busy_s, 1e-9)

    @property
    def images_per_gpu_second(self) -> float | None:
        """What each GPU that the stage books got through, idle time and model loading included."""
        return self.images / (self.wall_s * self.gpus) if self.gpus else None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Instances that were kept of what a sitting made, and what that took: seconds of the GPUs that were
    booked, or without any, seconds of busy cores."""

    kept: int
    gpu_s: float
    core_s: float

    @property
    def per_second(self) -> tuple[str, float]:
        """("gpu" or "core", kept a second)."""
        what, seconds = ("gpu", self.gpu_s) if self.gpu_s else ("core", self.core_s)
        return what, self.kept / max(seconds, 1e-9)


def acceptance(kept: int, stages: Mapping[str, StageFigures]) -> Acceptance:
    return Acceptance(
        kept,
        gpu_s=sum(stage.gpus * stage.wall_s for stage in stages.values()),
        core_s=sum(stage.busy_s * stage.threads for stage in stages.values()),
    )


@dataclass(slots=True)
class Figures:
    """Of one sitting. `work_s`: wall seconds of all passes, while any actors worked."""

    stages: dict[str, StageFigures] = field(default_factory=dict)
    work_s: float = 0.0
    acceptance: Acceptance | None = None

    def note_pass(self, stages: Mapping[str, StageFigures], wall_s: float) -> None:
        for name, stage in stages.items():
            self.stages[name] = self.stages[name].with_(stage) if name in self.stages else stage
        self.work_s += wall_s

    def busy_fraction(self, stage: str) -> float | None:
        """Of the time of its actors; None for what the driver did."""
        one = self.stages[stage]
        return one.busy_s / (one.actors * max(self.work_s, 1e-9)) if one.actors else None

    @property
    def bottleneck(self) -> str | None:
        """The stage whose actors are the busiest: more of them, or faster ones, shorten the run the most."""
        busy = {name: self.busy_fraction(name) for name in self.stages}
        there = {name: fraction for name, fraction in busy.items() if fraction is not None}
        return max(there, key=lambda name: there[name], default=None)

    def record(self) -> dict[str, Any]:
        """For `run.json`."""
        stages = {
            name: {
                "images": one.images,
                "busy_s": one.busy_s,
                "wall_s": one.wall_s,
                "actors": one.actors,
                "gpus": one.gpus,
                "images_per_gpu_second": one.images_per_gpu_second,
            }
            for name, one in self.stages.items()
        }
        told: dict[str, Any] = {
            "busy_s": {name: one.busy_s for name, one in self.stages.items()},
            "stages": stages,
            "bottleneck": self.bottleneck,
            "load_s": {name: one.load_s for name, one in self.stages.items() if one.load_s},
            "deaths": {name: one.deaths for name, one in self.stages.items() if one.deaths},
        }
        if self.acceptance:
            what, rate = self.acceptance.per_second
            told[f"accepted_per_{what}_second"] = rate
        return told
