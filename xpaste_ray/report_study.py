"""What a person sees of a study."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xpaste_ray.studies.tables import difference_rows, mean_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xpaste_ray.config import StudySettings
    from xpaste_ray.pipelines.study import PlannedPart, StudySummary

_SHOWN = 5  # measures: those of masks; study.md has all


def print_study_plan(study: "StudySettings", plan: "Sequence[PlannedPart]") -> None:
    """What would be made, and what is there."""
    console = Console()
    arms = sum(part.what == "arm" for part in plan)
    lines = [
        f"study {study.name}: {arms} arms, {len(study.seeds)} seeds each",
        *(f"  {part.what:<9} {part.name}: {part.state}" for part in plan),
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_study(summary: "StudySummary", out: str) -> None:
    """The table, the differences, and where all of it is."""
    console, results = Console(), summary.results
    console.print(f"{summary.trained} trainings done, {summary.reused} reused", highlight=False)
    for arm, other in summary.same.items():
        console.print(f"{arm} is trained as {other}: once", highlight=False, markup=False)
    titles = [one.title for one in results.measures][:_SHOWN]
    _print(console, f"{results.name}, %", ["arm", "seeds", *titles], mean_rows(results))
    if results.baseline is not None and len(results.arms) > 1:
        _print(console, f"differences from {results.baseline}", ["arm", *titles], difference_rows(results))
    if len(results.seeds) == 1:
        console.print("of one seed: no spread and no interval can be told", highlight=False)
    folder = Path(out)
    console.print(
        f"all in {folder}: study.md, study.json, plots", highlight=False, markup=False, soft_wrap=True
    )


def _print(console: Console, title: str, head: list[str], rows: list[list[str]]) -> None:
    table = Table(title=escape(title), title_justify="left")
    for name in head:
        table.add_column(name, justify="left" if name == "arm" else "right")
    for row in rows:
        table.add_row(*map(escape, row[: len(head)]))
    console.print(table)
