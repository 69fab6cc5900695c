"""What a study found: its arms, their means and spreads, and how they differ from the baseline."""

from collections.abc import Iterator, Mapping
from typing import Any

from xpaste_ray.errors import ConfigError
from xpaste_ray.html_report.blocks import Block, Column, Curves, Figure, Figures, Section, Series, Table
from xpaste_ray.html_report.given import STUDY_FILE, Given
from xpaste_ray.runs import read_json
from xpaste_ray.studies import Difference, Summary
from xpaste_ray.studies.results import KIND
from xpaste_ray.studies.tables import difference_text, mean_text


def studied(given: Given) -> Section | None:
    """None for other folders. See `studies.StudyResults.to_json` for what is read."""
    file = given.folder / STUDY_FILE
    if not file.is_file():
        return None
    told = read_json(file)
    if told.get("kind") != KIND:
        return None
    try:
        return Section("study", f"Study {told['name']}", tuple(_blocks(told)), told["title"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file} is damaged, or of another version ({error}): run the study's command again"
        ) from None


def _blocks(told: Mapping[str, Any]) -> Iterator[Block]:
    arms, seeds = told["arms"], told["seeds"]
    done = sum(len(arm["runs"]) for arm in arms)
    yield Figures((Figure("arms", len(arms)), Figure("trainings", done, f"of {len(arms) * len(seeds)}")))
    titles = {one["key"]: one["title"] for one in told["measures"]}
    columns = tuple(Column(name, "text") for name in ("arm", *titles.values()))
    means = tuple(
        (arm["name"], *(mean_text(Summary(**arm["summary"][key])) for key in titles)) for arm in arms
    )
    spread = f"Mean ± sample standard deviation over seeds ({', '.join(map(str, seeds))})."
    yield Table("Average precision, %", columns, means, spread)
    rows = tuple(
        (arm["name"], *(_difference(arm["difference"].get(key)) for key in titles))
        for arm in arms
        if arm["name"] != told["baseline"]
    )
    if told["baseline"] is not None and rows:
        one = "Of one seed: no interval can be told."
        note = one if len(seeds) == 1 else "Paired by seed, with Student's t-interval, 95 %."
        yield Table(f"Differences from {told['baseline']}", columns, rows, note)
    yield from _curves(arms)


def _difference(told: Mapping[str, Any] | None) -> str:
    return difference_text(Difference(**told) if told else None)


def _curves(arms: list[Mapping[str, Any]]) -> Iterator[Curves]:
    """Mask AP of validation by iteration: means over the seeds that have it."""
    found = {
        arm["name"]: [(at, ap) for run in arm["runs"] for at, ap in run["validated"] if ap is not None]
        for arm in arms
    }
    at = sorted({one for pairs in found.values() for one, _ in pairs})
    if at:
        series = tuple(
            Series(name, tuple(_mean([100 * ap for one, ap in pairs if one == x]) for x in at))
            for name, pairs in found.items()
        )
        yield Curves("Mask AP of validation, %", "iteration", "%", tuple(map(float, at)), series)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
