"""`xpaste pool select | sweep`: another selection of a run that is made. No model is needed."""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from xpaste_ray.categories import Category, category_from_coco
from xpaste_ray.config import (
    PoolSettings,
    ResourceSettings,
    SelectSettings,
    WorkerResources,
    change,
    parse_settings,
)
from xpaste_ray.errors import ConfigError
from xpaste_ray.pipelines.job import Progress, Summary, finish_record
from xpaste_ray.pipelines.pools import explained, select_and_seal
from xpaste_ray.pipelines.scores import has_scores, read_scores, stored_embeddings
from xpaste_ray.pipelines.steps import select_step
from xpaste_ray.pool.layout import MANIFEST
from xpaste_ray.runs import RunDir, open_run, read_json
from xpaste_ray.selection import Sweep, columns_of, sweep

_SECTIONS = ("select", "cutout")

_ALL_CORES = ResourceSettings(
    source="auto", segment="auto", score="auto", compose=WorkerResources(actors=1)
)  # of this machine, which need not be the one that made the run

_BUILD_FIRST = "run its build again, with the same command: it makes what is missing; then select"


def select_pool(
    place: str,
    progress: Progress,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] = MappingProxyType({}),
) -> Summary:
    """Seal another selection of a run beside the earlier ones, and make it the current one.

    It begins with the settings of the run's build, whatever was selected since, and changes them by
    `overrides` and `values`, see `config.load`. ConfigError if these are not about selection, or if the run
    has no scores yet; RunError if one of its files is damaged.
    """
    began = time.perf_counter()
    _check_sections(overrides)
    _check_finished(RunDir(place))
    with open_run(place, progress.say) as run:
        record = _check_finished(run)
        settings = change(_settings(run, record), overrides, values)
        step = select_step(settings, record["steps"]["score"]["fingerprint"])
        summary = Summary()
        with explained(run):
            counts = select_and_seal(run, settings, _categories(run), step, _ALL_CORES, progress)
        summary.counts = {**record.get("counts", {}), **counts}
        summary.wall_seconds = time.perf_counter() - began
        summary.note("select+seal", counts["candidates"]["made"], summary.wall_seconds)
        record.pop("selection", None)
        if step.fingerprint != record["steps"]["select"]["fingerprint"]:
            record["selection"] = {"fingerprint": step.fingerprint, "settings": step.settings}
        finish_record(run, record, summary)
    return summary


def sweep_pool(
    place: str,
    bars: Sequence[float],
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Sweep, SelectSettings]:
    """What other bars would keep of a run, see `selection.sweep`, and the rest of the rule. ConfigError as
    for `select_pool`, and for a rule that has no bar."""
    _check_sections(overrides)
    run = RunDir(place)
    settings = change(_settings(run, _check_finished(run)), overrides, values)
    rule = settings.select
    if rule.rule != "bar":
        raise ConfigError(
            f"a sweep is over the bar of select.rule bar, and this run's rule is {rule.rule}: add "
            "--set select.rule=bar"
        )
    with explained(run):
        scores = read_scores(run, (*columns_of(rule), "source"))
        with stored_embeddings(run, scores) as embeddings:
            return sweep(scores, rule, bars, settings.seed, embeddings), rule


def current_selection(record: Mapping[str, Any]) -> str:
    """The fingerprint of what was selected last, by a build or by `select_pool`. record: `run.json`."""
    told: str = record.get("selection", record["steps"]["select"])["fingerprint"]
    return told


def _check_sections(overrides: Iterable[str]) -> None:
    """ConfigError for an override of anything but selection."""
    for override in overrides:
        section = override.partition("=")[0].partition(".")[0].strip()
        if section not in _SECTIONS:
            raise ConfigError(
                f"--set {override!r}: only {' and '.join(_SECTIONS)} can be changed of a run that is made; "
                f"for another {section}, build with another --out"
            )


def _check_finished(run: RunDir) -> dict[str, Any]:
    """The run's `run.json`. ConfigError if it is no run whose build got to its end."""
    if not run.run_json.exists():
        raise ConfigError(f"{run.root} is not a run: run.json is missing. Give what was --out of a build")
    record = read_json(run.run_json)
    if not has_scores(run, record["steps"]["score"]["fingerprint"]):
        raise ConfigError(f"{run.root}: its scores are missing or out of date: {_BUILD_FIRST}")
    if not run.pool_json.exists():
        raise ConfigError(f"{run.root} has no pool yet: {_BUILD_FIRST}")
    return record


def _settings(run: RunDir, record: Mapping[str, Any]) -> PoolSettings:
    """Of the run's build. ConfigError if it is no run of `pool build`, or of its kind."""
    if "foregrounds" in record["settings"]:
        raise ConfigError(
            f"{run.root} was made by `xpaste foregrounds`: run that again, with other --set "
            "foregrounds.em... or foregrounds.cutout..., and it chooses again from the same files"
        )
    return parse_settings(PoolSettings, record["settings"], f"{run.run_json}: ")


def _categories(run: RunDir) -> tuple[Category, ...]:
    """Those that the run's current pool was made for: the file of the vocabulary may be elsewhere by now."""
    manifest = run.root / read_json(run.pool_json)["current"] / MANIFEST
    try:
        return tuple(map(category_from_coco, read_json(manifest)["categories"]))
    except (FileNotFoundError, KeyError):
        raise ConfigError(f"{manifest} is missing or damaged: {_BUILD_FIRST}") from None
