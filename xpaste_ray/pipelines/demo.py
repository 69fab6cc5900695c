"""The whole chain in one run: category names in, a labelled dataset out."""

import time
from collections.abc import Callable
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
    "ray",
    "torch",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "opencv-python",
    "numpy",
    "pyarrow",
)


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
    stage_seconds: dict[str, float] = field(default_factory=dict)
    wall_seconds: float = 0.0
    already_done: bool = False


def run_demo(settings: Settings, out: Path, progress: Progress, start_ray: Callable[[], None]) -> Summary:
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
    summary = Summary()
    _make_pool(run, inputs, steps, summary, progress, start_ray)
    _make_dataset(run, inputs, steps, summary, progress, start_ray)
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
    shards = compose.shards_of(settings.compose)
    return (
        run.run_json.exists()
        and "counts" in read_json(run.run_json)
        and (run.pools / steps["select"].fingerprint / MANIFEST).exists()
        and not compose.missing_shards(run.dataset, shards)
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


def _make_pool(
    run: RunDir,
    inputs: Inputs,
    steps: dict[str, Step],
    summary: Summary,
    progress: Progress,
    start_ray: Callable[[], None],
) -> None:
    units = pool.write_units(run, inputs)
    missing = pool.missing_units(run, units)
    images = sum(len(prompts) for prompts in missing["prompts"].to_pylist())
    if missing.num_rows:
        if missing.num_rows < units.num_rows:
            progress.say(
                f"continuing: {units.num_rows - missing.num_rows} of {units.num_rows} units are done"
            )
        progress.say("starting Ray and loading the models (about 20 s)")
        start_ray()
        progress.begin(dict.fromkeys(pool.STAGES, missing.num_rows), "units")
        seconds = pool.run_units(run, missing, inputs)
        summary.stage_seconds |= seconds
        summary.stage_images |= dict.fromkeys(seconds, images)
    scores = pool.compact_scores(run, units)
    began = time.perf_counter()
    summary.counts |= pool.select_and_seal(run, scores, inputs, steps["select"])
    summary.stage_seconds["select+seal"] = time.perf_counter() - began
    summary.stage_images["select+seal"] = summary.counts["candidates"]["made"]


def _make_dataset(
    run: RunDir,
    inputs: Inputs,
    steps: dict[str, Step],
    summary: Summary,
    progress: Progress,
    start_ray: Callable[[], None],
) -> None:
    settings = inputs.settings
    instances = open_pool(run.root)
    if not len(instances):
        raise ConfigError(
            f"no candidate passed the selection (see {run.rejects}). Loosen it, for example with "
            "--set select.min_clip_logit=0: the candidates are kept, only the selection runs again"
        )
    shards = compose.shards_of(settings.compose)
    missing = compose.missing_shards(run.dataset, shards)
    if missing:
        start_ray()
        progress.begin({"compose": len(missing)}, "shards")
        summary.stage_seconds["compose"] = compose.run_shards(
            run.dataset,
            missing,
            instances.folder,
            inputs.backgrounds,
            settings.compose,
            settings.seed,
            settings.resources.compose_actors,
        )
        summary.stage_images["compose"] = sum(shard.last - shard.first + 1 for shard in missing)
    info = {
        "description": "Composed by xpaste_ray",
        "version": __version__,
        "pool": instances.fingerprint,
        "recipe": steps["compose"].fingerprint,
    }
    images, annotations = write_annotations(run.dataset, shards, instances.categories, info)
    draw_preview(run.dataset, run.preview)
    summary.counts |= {
        "images": images,
        "annotations": annotations,
        "categories": {
            "asked": len(instances.categories),
            "without_instances": [
                category.name
                for category in instances.categories
                if category.id not in instances.rows_by_category
            ],
        },
        "backgrounds": {
            "usable": len(inputs.backgrounds),
            "rejected": dict(inputs.backgrounds.rejected),
        },
    }
