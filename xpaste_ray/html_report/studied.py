"""What a study found: its arms, their means and spreads, and how they differ from the baseline."""

from collections.abc import Callable, Iterable, Iterator, Mapping
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
    spread = f"Mean ± sample standard deviation over seeds ({', '.join(map(str, seeds))})."
    one = "Of one seed: no interval can be told."
    paired = one if len(seeds) == 1 else "Paired by seed, with Student's t-interval, 95 %."
    others = [arm for arm in arms if arm["name"] != told["baseline"]]
    for what, measures in _by_kind(told["measures"]):
        yield _table(f"{what}: average precision, %", measures, arms, _mean_cell, spread)
        if told["baseline"] is not None and others:
            yield _table(
                f"{what}: differences from {told['baseline']}", measures, others, _difference_cell, paired
            )
    yield from _curves(arms)


def _by_kind(measures: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, list[Mapping[str, str]]]]:
    """Masks and boxes apart: all columns side by side are wider than a page."""
    for kind, what in (("segm", "Masks"), ("bbox", "Boxes")):
        if found := [one for one in measures if one["key"].startswith(f"{kind}.")]:
            yield what, found


def _table(
    title: str,
    measures: Iterable[Mapping[str, str]],
    arms: Iterable[Mapping[str, Any]],
    cell: Callable[[Mapping[str, Any], str], str],
    note: str,
) -> Table:
    """A row an arm, a column a measure."""
    columns = (Column("arm", "text"), *(Column(one["title"], "text") for one in measures))
    rows = tuple((arm["name"], *(cell(arm, one["key"]) for one in measures)) for arm in arms)
    return Table(title, columns, rows, note)


def _mean_cell(arm: Mapping[str, Any], key: str) -> str:
    return mean_text(Summary(**arm["summary"][key]))


def _difference_cell(arm: Mapping[str, Any], key: str) -> str:
    told = arm["difference"].get(key)
    return difference_text(Difference(**told) if told else None)


def _curves(arms: list[Mapping[str, Any]]) -> Iterator[Curves]:
    """Mask AP of validation by iteration: means over the seeds that have it. One point is no curve."""
    found = {
        arm["name"]: [(at, ap) for run in arm["runs"] for at, ap in run["validated"] if ap is not None]
        for arm in arms
    }
    at = sorted({one for pairs in found.values() for one, _ in pairs})
    if len(at) > 1:
        series = tuple(
            Series(name, tuple(_mean([100 * ap for one, ap in pairs if one == x]) for x in at))
            for name, pairs in found.items()
        )
        yield Curves("Mask AP of validation, %", "iteration", "%", tuple(map(float, at)), series)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
