"""The whole chain in one run: category names in, a labelled dataset out."""

import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from xpaste_ray import __version__
from xpaste_ray.config import Settings
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.coco import write_annotations
from xpaste_ray.pipelines import compose, pool
from xpaste_ray.pipelines.steps import Inputs, Step, plan_steps, resolve_inputs
from xpaste_ray.pool import open_pool
from xpaste_ray.pool.layout import MANIFEST
from xpaste_ray.preview import draw_preview
from xpaste_ray.runs import RunDir, check_steps, open_run, read_json, write_json

_VERSIONED = (
    "ray", "torch", "diffusers", "transformers", "open_clip_torch", "opencv-python", "numpy", "pyarrow",
)  # fmt: skip


class Progress(Protocol):
    """What the run tells while it works: totals and rows done, by stage."""

    def begin(self, totals: dict[str, int], unit: str) -> None: ...

    def advance(self, stage: str, done: int) -> None: ...

    def say(self, text: str) -> None: ...


@dataclass(slots=True)
class Summary:
    """What a run made, for the closing table and `run.json`."""

    counts: dict[str, Any] = field(default_factory=dict)
    stage_images: dict[str, int] = field(default_factory=dict)
    stage_seconds: dict[str, float] = field(default_factory=dict)  # busy seconds, over all actors
    wall_seconds: float = 0.0
    already_done: bool = False


def run_demo(settings: Settings, out: Path, progress: Progress) -> Summary:
    """Make, or finish, the run in `out`. The same settings give the same bytes, however often it
    was interrupted. ConfigError before anything starts if something cannot work."""
    began = time.perf_counter()
    inputs = resolve_inputs(settings)
    steps = plan_steps(inputs)
    run = open_run(out)
    check_steps(run, {name: steps[name].settings for name in _made_steps(run)})
    if _is_done(run, settings, steps):
        return Summary(counts=read_json(run.run_json)["counts"], already_done=True)
    record = _start_record(run, settings, steps)
    job = _Job(run, inputs, steps, progress)
    job.make_pool()
    job.make_dataset()
    summary = job.summary
    summary.wall_seconds = time.perf_counter() - began
    record["counts"] = summary.counts
    record["times"] = [*record["times"], {"wall_s": summary.wall_seconds, "busy_s": summary.stage_seconds}]
    write_json(run.run_json, record)
    return summary


def _made_steps(run: RunDir) -> tuple[str, ...]:
    """Steps with results that a change of settings would mix up. Selection alone can be run again."""
    made: tuple[str, ...] = ()
    if run.candidates.exists():
        made = ("source", "segment", "score")
    if run.dataset.exists():
        made = (*made, "select", "compose")
    return made


def _is_done(run: RunDir, settings: Settings, steps: dict[str, Step]) -> bool:
    return (
        run.run_json.exists()
        and "counts" in read_json(run.run_json)
        and (run.pools / steps["select"].fingerprint / MANIFEST).exists()
        and not compose.missing_shards(run.dataset, compose.shards_of(settings.compose))
        and (run.dataset / "annotations.json").exists()
        and run.preview.exists()
    )


def _start_record(run: RunDir, settings: Settings, steps: dict[str, Step]) -> dict[str, Any]:
    """Write `run.json` before the first result, so that no result is ever without its settings."""
    earlier = read_json(run.run_json) if run.run_json.exists() else {}
    record = {
        "format": 1,
        "settings": settings.model_dump(mode="json"),
        "steps": {
            name: {"fingerprint": step.fingerprint, "settings": step.settings} for name, step in steps.items()
        },
        "versions": {"xpaste-ray": __version__, **{name: version(name) for name in _VERSIONED}},
        "times": earlier.get("times", []),
    }
    write_json(run.run_json, record)
    return record


@dataclass(slots=True)
class _Job:
    """The work on one run, from what its folder already has."""

    run: RunDir
    inputs: Inputs
    steps: dict[str, Step]
    progress: Progress
    summary: Summary = field(default_factory=Summary)

    def make_pool(self) -> None:
        units = pool.write_units(self.run, self.inputs)
        missing = pool.missing_units(self.run, units)
        if missing.num_rows:
            self._run_units(missing, units.num_rows)
        scores = pool.compact_scores(self.run, units)
        began = time.perf_counter()
        self.summary.counts |= pool.select_and_seal(self.run, scores, self.inputs, self.steps["select"])
        made = self.summary.counts["candidates"]["made"]
        self._note("select+seal", made, time.perf_counter() - began)

    def _run_units(self, missing: Any, total: int) -> None:
        if missing.num_rows < total:
            self.progress.say(f"continuing: {total - missing.num_rows} of {total} units are done")
        self.progress.say("starting Ray and loading the models (about 20 s)")
        self._start_ray()
        self.progress.begin(dict.fromkeys(pool.STAGES, missing.num_rows), "units")
        images = sum(len(prompts) for prompts in missing["prompts"].to_pylist())
        for stage, seconds in pool.run_units(self.run, missing, self.inputs).items():
            self._note(stage, images, seconds)

    def make_dataset(self) -> None:
        settings = self.inputs.settings
        instances = open_pool(self.run.root)
        if not len(instances):
            raise ConfigError(
                f"no candidate passed the selection (see {self.run.rejects}). Loosen it, for example with "
                "--set select.min_clip_logit=0: the candidates are kept, only the selection runs again"
            )
        shards = compose.shards_of(settings.compose)
        missing = compose.missing_shards(self.run.dataset, shards)
        if missing:
            self._start_ray()
            self.progress.begin({"compose": len(missing)}, "shards")
            seconds = compose.run_shards(self.run.dataset, missing, instances.folder, self.inputs)
            self._note("compose", sum(shard.last - shard.first + 1 for shard in missing), seconds)
        info = {
            "description": "Composed by xpaste_ray",
            "version": __version__,
            "pool": instances.fingerprint,
            "recipe": self.steps["compose"].fingerprint,
        }
        images, annotations = write_annotations(self.run.dataset, shards, instances.categories, info)
        draw_preview(self.run.dataset, self.run.preview)
        drawable = instances.rows_by_category
        self.summary.counts |= {
            "images": images,
            "annotations": annotations,
            "categories": {
                "asked": len(instances.categories),
                "without_instances": [c.name for c in instances.categories if c.id not in drawable],
            },
            "backgrounds": {
                "usable": len(self.inputs.backgrounds),
                "rejected": dict(self.inputs.backgrounds.rejected),
            },
        }

    def _start_ray(self) -> None:
        from xpaste_ray.pipelines import ray_profile  # a finished run does not pay for Ray

        ray_profile.start_ray(self.inputs.settings.resources.local_cpus)
        ray_profile.configure_data(self.progress.advance)

    def _note(self, stage: str, images: int, seconds: float) -> None:
        self.summary.stage_images[stage] = images
        self.summary.stage_seconds[stage] = seconds
