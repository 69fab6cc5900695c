"""What every job shares: how it tells of its progress, what it sums up, and its `run.json`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

from xpaste_ray import __version__
from xpaste_ray.config import ResourceSettings
from xpaste_ray.fingerprints import differences
from xpaste_ray.pace import NOTHING_KNOWN, StageState
from xpaste_ray.pipelines.figures import Figures, StageFigures
from xpaste_ray.pipelines.resources import check_cores, cpus_booked
from xpaste_ray.pipelines.steps import Step
from xpaste_ray.runs import RunDir, read_json, remove_leftovers, write_json

_VERSIONED = (
    "ray", "torch", "torchvision", "diffusers", "transformers", "open_clip_torch", "opencv-python",
    "pillow", "numpy", "pyarrow",
)  # fmt: skip


class Progress(Protocol):
    """What a job tells while it works: totals and rows done, by stage. A stage may begin again."""

    def begin(self, totals: dict[str, int], unit: str) -> None: ...

    def advance(self, stage: str, done: int, state: StageState = NOTHING_KNOWN) -> None: ...

    def say(self, text: str) -> None: ...


@dataclass(slots=True)
class Summary:
    """What a job made, for the closing table and `run.json`."""

    counts: dict[str, Any] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)
    wall_seconds: float = 0.0
    already_done: bool = False

    def note(self, stage: str, images: int, seconds: float) -> None:
        """What the driver did by itself."""
        self.figures.stages[stage] = StageFigures(images, seconds, seconds)


class Job(Protocol):
    """The work on one run, from what its folder already has."""

    @property
    def steps(self) -> Mapping[str, Step]: ...

    @property
    def summary(self) -> Summary: ...

    def is_done(self) -> bool: ...

    def make(self) -> None:
        """Make what is missing. Counts and times go to the summary."""


def finish(run: RunDir, job: Job, settings: Mapping[str, Any], progress: Progress, began: float) -> Summary:
    """Do a job unless it is done, and keep its record. began: by `time.perf_counter`. RunError."""
    if job.is_done():
        return Summary(counts=read_json(run.run_json)["counts"], already_done=True)
    remove_leftovers(run)
    record = start_record(run, settings, job.steps, progress)
    job.make()
    job.summary.wall_seconds = time.perf_counter() - began
    finish_record(run, record, job.summary)
    return job.summary


def start_record(
    run: RunDir, settings: Mapping[str, Any], steps: Mapping[str, Step], progress: Progress
) -> dict[str, Any]:
    """Write `run.json` before the first result, so that no result is ever without its settings."""
    earlier = read_json(run.run_json) if run.run_json.exists() else {}
    versions = {"xpaste-ray": __version__, **{name: version(name) for name in _VERSIONED}}
    changed = differences(earlier.get("versions", versions), versions)
    if changed:
        progress.say(f"note: this run was begun with other versions ({'; '.join(changed)})")
    record = {
        "format": 1,
        "settings": dict(settings),
        "steps": {
            name: {"fingerprint": step.fingerprint, "settings": step.settings} for name, step in steps.items()
        },
        "versions": versions,
        "times": earlier.get("times", []),
    }
    write_json(run.run_json, record)
    return record


def finish_record(run: RunDir, record: dict[str, Any], summary: Summary) -> None:
    """Add to `run.json` what was made and how long it took."""
    record["counts"] = summary.counts
    record["times"].append({"wall_s": summary.wall_seconds, **summary.figures.record()})
    write_json(run.run_json, record)


def start_ray(resources: ResourceSettings, progress: Progress, reads: bool = False) -> None:
    """Start or find Ray, unless that is done, with the job's progress as its listener. reads: see
    `cpus_booked`.

    ConfigError if it is to be started here and this machine is too small.
    """
    from xpaste_ray.pipelines import ray_profile  # a finished job does not pay for Ray
    from xpaste_ray.pipelines.watch import Watch

    if ray_profile.starts_here():
        check_cores(resources)
    ray_profile.start_ray(cpus_booked(resources, reads))
    ray_profile.configure_data(Watch(progress).tell)
