"""What a person sees while a run works and when it ends."""

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from xpaste_ray.outcomes import Outcome, background_outcomes, object_outcomes, reasons
from xpaste_ray.pace import NOTHING_KNOWN, Pace, StageState, duration, status_text
from xpaste_ray.report_selection import empty_category_lines

if TYPE_CHECKING:
    from xpaste_ray.backgrounds import Backgrounds
    from xpaste_ray.formats.findings import Report
    from xpaste_ray.pipelines.job import Summary


_QUIET_S = 30.0  # that a log may be without a word of a stage that works


class _LastingConsole(Console):
    """A run goes on when nobody can read along any more: rich would end it."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


@dataclass(slots=True)
class _Shown:
    """A stage that has begun, and what was said of it last."""

    total: int
    unit: str
    task: TaskID
    pace: Pace
    said_s: float
    quarter: int = 0


class ConsoleProgress:
    """A bar for each stage on a terminal. In a log plain lines: one for each quarter of a stage, and one
    after 30 s without any. `clock`: seconds."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console or _LastingConsole(), clock
        self._bars = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[status]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._stages: dict[str, _Shown] = {}

    def __enter__(self) -> "ConsoleProgress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, totals: Mapping[str, int], unit: str) -> None:
        """Stages with so many `unit`s to do. One that was there already begins again."""
        for stage, total in totals.items():
            if stage in self._stages:
                self._bars.remove_task(self._stages[stage].task)
            task, now = self._bars.add_task(stage, total=total, unit=unit, status=""), self._clock()
            self._stages[stage] = _Shown(total, unit, task, Pace(now), said_s=now)

    def advance(self, stage: str, done: int, state: StageState = NOTHING_KNOWN) -> None:
        if stage not in self._stages:
            return
        shown, now = self._stages[stage], self._clock()
        if state.waiting:
            shown.pace = Pace(now)
        shown.pace.note(now, done, state.images or 0)
        status = status_text(done, shown.total, shown.unit, state, shown.pace.rates(now))
        self._bars.update(shown.task, completed=done, status=status)
        if not self._console.is_terminal and self._is_due(
            shown, done, now, silent=state.waiting and not state.loading
        ):
            images = f" ({state.images:,} images)" if state.images else ""
            line = f"{stage} {done:,} of {shown.total:,} {shown.unit}{images}"
            self.say(f"{line}, {status}" if status else line)

    def _is_due(self, shown: _Shown, done: int, now: float, silent: bool) -> bool:
        """Whether to say a line of the stage, which then counts as said."""
        quarter = 4 * done // max(shown.total, 1)
        long_ago = now - shown.said_s >= _QUIET_S and shown.quarter < 4 and not silent
        if quarter <= shown.quarter and not long_ago:
            return False
        shown.quarter, shown.said_s = max(quarter, shown.quarter), now
        return True

    def say(self, text: str) -> None:
        try:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        except (OSError, ValueError):  # the terminal is gone, or the stream closed
            self._console.quiet = True


class CountingProgress:
    """One bar that counts; on no terminal, nothing."""

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self._progress, self._stage, self._total, self._unit = ConsoleProgress(), stage, total, unit
        self._done = 0

    def __enter__(self) -> "CountingProgress":
        self._progress.__enter__()
        if self._total:
            self._progress.begin({self._stage: self._total}, self._unit)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def add(self, count: int) -> None:
        self._done += count
        self._progress.advance(self._stage, self._done)

    def set(self, done: int, total: int) -> None:
        """For work whose size is known when it begins."""
        if not self._total:
            self._total = total
            self._progress.begin({self._stage: total}, self._unit)
        self._progress.advance(self._stage, done)


def print_dataset_summary(summary: "Summary", out: Path, formats: tuple[str, ...]) -> None:
    """What was composed, what was left out and why, and where it is."""
    console = Console()
    dataset = summary.counts["dataset"]
    print_stages(console, summary, out)
    table = Table()
    for column in ("", "made", "kept", "left out"):
        table.add_column(column, justify="right" if column in ("made", "kept") else "left")
    for outcome in (*object_outcomes(dataset), *background_outcomes(summary.counts)):
        table.add_row(*outcome.cells)
    console.print(table)
    if unknown := dataset.get("sized_by_overall"):
        console.print(
            f"[yellow]{unknown} objects are of categories that the size table lacks: they took the overall "
            "size (fit your own with `xpaste sizes fit`)"
        )
    where = f"{out} ({', '.join(formats)})"
    if "contexts" in summary.counts:
        where += f", {dataset.get('on_contexts', 0)} of them on contexts"
    console.print(f"{dataset['images']} images in {where}", highlight=False, soft_wrap=True)


def print_backgrounds(backgrounds: "Backgrounds") -> None:
    """What an index holds."""
    console = Console()
    console.print(f"{len(backgrounds)} usable images, {len(backgrounds.annotated_rows)} with annotations")
    for what, counts in (("images", backgrounds.rejected), ("annotations", backgrounds.rejected_annotations)):
        if counts:
            console.print(f"[yellow]rejected {what}: {reasons(counts)}")
    for name, reason in backgrounds.rejected_images():
        console.print(f"[yellow]  {name}: {reason}", highlight=False, soft_wrap=True)
    console.print(f"index: {backgrounds.folder}", highlight=False, soft_wrap=True)


def print_findings(report: "Report", dataset: Path) -> None:
    """Every finding with its ids, the counts, then what to do."""
    console = Console()
    for finding in report.findings:
        colour = "red" if finding.severity == "error" else "yellow"
        console.print(finding.line, style=colour, highlight=False, markup=False, soft_wrap=True)
    for (severity, rule), count in sorted(report.counts.items()):
        console.print(f"{severity} {rule}: {count}", highlight=False)
    for remedy in report.remedies:
        console.print(remedy, highlight=False, markup=False, soft_wrap=True)
    outcome = "is valid" if not report.errors else f"has {report.errors} errors"
    console.print(
        f"{dataset} {outcome}: {report.images} images, {report.annotations} annotations checked",
        highlight=False,
        soft_wrap=True,
    )


def print_summary(summary: "Summary", out: Path) -> None:
    """The closing tables and where to look."""
    console = Console()
    counts = summary.counts
    print_stages(console, summary, out)
    console.print(_outcome_table(counts))
    for line in empty_category_lines(counts.get("empty_categories", {})):
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
    for name, reason in counts["backgrounds"]["rejected"].items():
        console.print(f"[yellow]background {name}: {reason}")
    console.print(f"{counts['dataset']['images']} images", highlight=False)
    for name in ("dataset/images", "dataset/annotations.json", "preview.jpg", "report.html"):
        console.print(f"  {out / name}", highlight=False, soft_wrap=True)
    serve = f"xpaste serve --pool {shlex.quote(str(out))}"
    console.print(f"to compose more of it over HTTP: {serve}", highlight=False, markup=False, soft_wrap=True)


def print_pool_summary(summary: "Summary", out: str) -> None:
    """What became of the candidates, and where the pool is."""
    console = Console()
    print_stages(console, summary, out)
    table = outcome_columns()
    for kind in ("candidates", "proposals"):
        table.add_row(*Outcome(kind, **summary.counts[kind]).cells)
    console.print(table)
    for line in empty_category_lines(summary.counts.get("empty_categories", {})):
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
    kept = summary.counts["proposals"]["kept"]
    console.print(f"{kept} instances in {out}", highlight=False, soft_wrap=True)


def print_stages(console: Console, summary: "Summary", out: Path | str) -> None:
    """What each stage did, which of them decided how long it took, and what came out of it; or that nothing
    was to be done."""
    if summary.already_done:
        console.print(f"[bold]{out}[/] is done already: nothing to do.", soft_wrap=True)
        return
    figures = summary.figures
    columns = ["stage", "images", "busy", "busy seconds", "images/s per actor", "images/s per GPU", "load s"]
    table = Table(title=f"done in {duration(summary.wall_seconds)}")
    for column in columns:
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name, stage in figures.stages.items():
        busy, per_gpu = figures.busy_fraction(name), stage.images_per_gpu_second
        table.add_row(
            name,
            f"{stage.images:,}",
            "" if busy is None else f"{busy:.0%}",
            f"{stage.busy_s:,.1f}",
            f"{stage.images_per_actor_second:.1f}",
            "" if per_gpu is None else f"{per_gpu:.2f}",
            f"{stage.load_s:.1f}" if stage.load_s else "",
            style="bold" if name == figures.bottleneck else None,
        )
    console.print(table)
    if figures.bottleneck:
        busy = figures.busy_fraction(figures.bottleneck)
        console.print(
            f"bottleneck: {figures.bottleneck}, its actors were busy {busy:.0%} of the time", highlight=False
        )
    if deaths := {name: stage.deaths for name, stage in figures.stages.items() if stage.deaths}:
        console.print(f"[yellow]processes that died and were replaced: {reasons(deaths)}")
    if figures.acceptance:
        what, rate = figures.acceptance.per_second
        of = {"gpu": "GPU-second", "core": "core-second of busy time"}[what]
        console.print(f"accepted instances per {of}: {rate:.3g}", highlight=False)


def _outcome_table(counts: Mapping[str, Any]) -> Table:
    table = outcome_columns()
    outcomes = [Outcome(kind, **counts[kind]) for kind in ("candidates", "proposals")]
    for outcome in (*outcomes, *object_outcomes(counts["dataset"])):
        table.add_row(*outcome.cells)
    return table


def outcome_columns() -> Table:
    table = Table()
    for column in ("", "made", "kept", "rejected"):
        table.add_column(column, justify="right" if column in ("made", "kept") else "left")
    return table
