"""The table of a study, as Markdown: mean and spread over seeds, and differences with intervals, in per
cent."""

from collections.abc import Iterable

from xpaste_ray.studies.results import ArmResults, StudyResults
from xpaste_ray.studies.statistics import CONFIDENCE, Difference, Summary


def study_markdown(results: StudyResults) -> str:
    """What `study.md` holds."""
    seeds = ", ".join(map(str, results.seeds))
    lines = [
        f"# {results.name}",
        *(["", results.title] if results.title else []),
        "",
        f"Average precision, %: mean ± sample standard deviation over seeds ({seeds}).",
        "",
        *_table(["arm", "seeds", *(one.title for one in results.measures)], mean_rows(results)),
    ]
    if results.baseline is not None and len(results.arms) > 1:
        lines += ["", f"## Differences from {results.baseline}", "", _about_intervals(results), ""]
        lines += _table(["arm", *(one.title for one in results.measures)], difference_rows(results))
    return "\n".join(lines) + "\n"


def mean_rows(results: StudyResults) -> list[list[str]]:
    """arm, seeds done, then a cell for each measure."""
    return [
        [arm.name, _done(results, arm), *(mean_text(arm.summary(one)) for one in results.measures)]
        for arm in results.arms
    ]


def difference_rows(results: StudyResults) -> list[list[str]]:
    """The baseline has no row."""
    return [
        [arm.name, *(difference_text(results.difference(arm, one)) for one in results.measures)]
        for arm in results.arms
        if arm.name != results.baseline
    ]


def mean_text(told: Summary) -> str:
    """31.4 ± 0.6; nothing if there is no value."""
    if told.mean is None:
        return ""
    mean = f"{100 * told.mean:.1f}"
    return mean if told.std is None else f"{mean} ± {100 * told.std:.1f}"


def difference_text(told: Difference | None) -> str:
    """+1.2 [+0.3, +2.1]; without an interval where there is none."""
    if told is None:
        return ""
    mean = f"{100 * told.mean:+.1f}"
    if told.low is None or told.high is None:
        return mean
    return f"{mean} [{100 * told.low:+.1f}, {100 * told.high:+.1f}]"


def _done(results: StudyResults, arm: ArmResults) -> str:
    done, wanted = len(arm.trained), len(results.seeds)
    return str(done) if done == wanted else f"{done} of {wanted}"


def _about_intervals(results: StudyResults) -> str:
    if len(results.seeds) == 1:
        return "Of one seed: no interval can be told."
    return f"Paired by seed; in brackets Student's t-interval, {CONFIDENCE:.0%}."


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    rule = ["---", *(["---:"] * (len(head) - 1))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *(map(_escaped, row) for row in rows))]


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
