"""The whole chain in one run: category names in, a labelled dataset out."""

import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from xpaste_ray import __version__
from xpaste_ray.config import Settings
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import differences
from xpaste_ray.formats.coco import Shard, image_name, write_annotations
from xpaste_ray.pipelines import compose, pool
from xpaste_ray.pipelines.steps import Inputs, Step, plan_steps, resolve_inputs
from xpaste_ray.pool import open_pool
from xpaste_ray.pool.layout import MANIFEST
from xpaste_ray.preview import draw_preview
from xpaste_ray.runs import RunDir, check_steps, open_run, read_json, remove_leftovers, write_json

_VERSIONED = (
    "ray", "torch", "torchvision", "diffusers", "transformers", "open_clip_torch", "opencv-python",
    "pillow", "numpy", "pyarrow",
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
    with open_run(out) as run:
        check_steps(run, {name: steps[name].settings for name in _made_steps(run)})
        job = _Job(run, inputs, steps, progress)
        if job.is_done():
            return Summary(counts=read_json(run.run_json)["counts"], already_done=True)
        remove_leftovers(run)
        record = _start_record(run, settings, steps, progress)
        job.make_pool()
        job.make_dataset()
        job.summary.wall_seconds = time.perf_counter() - began
        record["counts"] = job.summary.counts
        record["times"].append({"wall_s": job.summary.wall_seconds, "busy_s": job.summary.stage_seconds})
        write_json(run.run_json, record)
    return job.summary


def _made_steps(run: RunDir) -> tuple[str, ...]:
    """Steps whose results a change of settings would mix up. Until there is a dataset, a selection
    may be changed: another pool is then sealed beside the first."""
    made: tuple[str, ...] = ()
    if run.candidates.exists():
        made = ("source", "segment", "score")
    if run.dataset.exists():
        made = (*made, "select", "compose")
    return made


def _start_record(
    run: RunDir, settings: Settings, steps: dict[str, Step], progress: Progress
) -> dict[str, Any]:
    """Write `run.json` before the first result, so that no result is ever without its settings."""
    earlier = read_json(run.run_json) if run.run_json.exists() else {}
    versions = {"xpaste-ray": __version__, **{name: version(name) for name in _VERSIONED}}
    changed = differences(earlier.get("versions", versions), versions)
    if changed:
        progress.say(f"note: this run was begun with other versions ({'; '.join(changed)})")
    record = {
        "format": 1,
        "settings": settings.model_dump(mode="json"),
        "steps": {
            name: {"fingerprint": step.fingerprint, "settings": step.settings} for name, step in steps.items()
        },
        "versions": versions,
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

    def is_done(self) -> bool:
        run, shards = self.run, compose.shards_of(self.inputs.settings.compose)
        files = (
            run.units,
            run.scores,
            run.rejects,
            run.pool_json,
            run.preview,
            run.dataset / "annotations.json",
        )
        return (
            all(path.exists() for path in files)
            and "counts" in read_json(run.run_json)
            and (run.pools / self.steps["select"].fingerprint / MANIFEST).exists()
            and not self._missing_shards(shards)
            and all((run.dataset / "images" / image_name(i)).exists() for i in range(shards[-1].last + 1))
        )

    def make_pool(self) -> None:
        units = pool.write_units(self.run, self.inputs)
        missing = pool.missing_units(self.run, units, self.steps["score"].fingerprint)
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
        seconds = pool.run_units(self.run, missing, self.inputs, self.steps["score"].fingerprint)
        for stage in pool.MODEL_STAGES:
            self._note(stage, images, seconds[stage])

    def make_dataset(self) -> None:
        instances = open_pool(self.run.root)
        if not len(instances):
            reasons = self.summary.counts["candidates"]["rejected"]
            raise ConfigError(
                f"no candidate became an instance: {reasons}; {self.run.rejects} names each. If a limit is "
                "too strict, loosen it (--set select...=): the candidates are kept, so only the selection "
                "runs again"
            )
        shards = compose.shards_of(self.inputs.settings.compose)
        missing = self._missing_shards(shards)
        if missing:
            self._start_ray()
            self.progress.begin({"compose": len(missing)}, "shards")
            recipe = self.steps["compose"].fingerprint
            seconds = compose.run_shards(self.run.dataset, missing, instances.folder, self.inputs, recipe)
            self._note("compose", sum(shard.last - shard.first + 1 for shard in missing), seconds)
        info = {
            "description": "Composed by xpaste_ray",
            "version": __version__,
            "pool": instances.fingerprint,
            "recipe": self.steps["compose"].fingerprint,
        }
        written = write_annotations(self.run.dataset, shards, instances.categories, info)
        draw_preview(self.run.dataset, self.run.preview)
        drawable = instances.rows_by_category
        self.summary.counts |= {
            "dataset": dict(written),
            "categories": {
                "asked": len(instances.categories),
                "without_instances": [c.name for c in instances.categories if c.id not in drawable],
            },
            "backgrounds": {
                "usable": len(self.inputs.backgrounds),
                "rejected": dict(self.inputs.backgrounds.rejected),
            },
        }

    def _missing_shards(self, shards: list[Shard]) -> list[Shard]:
        return compose.missing_shards(self.run.dataset, shards, self.steps["compose"].fingerprint)

    def _start_ray(self) -> None:
        from xpaste_ray.pipelines import ray_profile  # a finished run does not pay for Ray

        ray_profile.start_ray(self.inputs.settings.resources.local_cpus)
        ray_profile.configure_data(self.progress.advance)

    def _note(self, stage: str, images: int, seconds: float) -> None:
        self.summary.stage_images[stage] = images
        self.summary.stage_seconds[stage] = seconds
