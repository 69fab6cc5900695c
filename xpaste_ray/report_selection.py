"""What a person sees of selections: categories that came out empty, and sweeps as text, CSV and plot."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from xpaste_ray.errors import ConfigError

if TYPE_CHECKING:
    from xpaste_ray.config import SelectSettings
    from xpaste_ray.selection import Sweep

_NAMED = 20
_MOST_BARS = 1000
_ALL = "all"


def empty_category_lines(empty: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """ "no instance of owl (12 candidates: low_clip_logit 10, black_image 2)", for the first twenty.

    empty: the rejected candidates, by reason, of each category without an instance.
    """
    for name, rejected in list(empty.items())[:_NAMED]:
        most_first = sorted(rejected.items(), key=lambda one: (-one[1], one[0]))
        told = ", ".join(f"{reason} {count:,}" for reason, count in most_first)
        total = sum(rejected.values())
        noun = "candidate" if total == 1 else "candidates"
        yield f"no instance of {name} ({total:,} {noun}{': ' + told if told else ''})"
    if len(empty) > _NAMED:
        yield f"... and of {len(empty) - _NAMED} more categories"


def bars_of(text: str) -> list[float]:
    """ "19:28:0.5": 19, 19.5, ... 28. ConfigError if it is no such range."""
    wrong = ConfigError(f"--min-clip-logit {text!r}: write it as from:to:step, such as 19:28:0.5")
    try:
        first, last, step = map(float, text.split(":"))
        steps = round((last - first) / step, 6)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise wrong from None
    if not (step > 0 and 0 <= steps < _MOST_BARS):
        raise wrong
    return [round(first + number * step, 6) for number in range(int(steps) + 1)]


def print_sweep(swept: "Sweep", rule: "SelectSettings", console: Console | None = None) -> None:
    """A row a bar; a column for each source if there are several, then for all."""
    console = console or Console()
    table = Table(title=f"kept at min_clip_logit, tolerance {rule.tolerance:g}")
    table.add_column("bar", justify="right")
    for name in _columns(swept):
        table.add_column(f"{name}, of {_made(swept, name):,}", justify="right")
    for place, bar in enumerate(swept.bars):
        cells = (
            f"{_kept(swept, name, place):,} ({_share(swept, name, place):.1%})" for name in _columns(swept)
        )
        table.add_row(f"{bar:g}", *cells)
    console.print(table)


def sweep_csv(swept: "Sweep") -> str:
    """A row for each bar and source, and one for all; `made` is what `share` is of."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["min_clip_logit", "source", "made", "kept", "share"])
    for place, bar in enumerate(swept.bars):
        for name in _columns(swept):
            share = _share(swept, name, place)
            writer.writerow([f"{bar:g}", name, _made(swept, name), _kept(swept, name, place), f"{share:.6f}"])
    return text.getvalue()


def sweep_png(swept: "Sweep", rule: "SelectSettings") -> bytes:
    """The shares over the bar, a line a source."""
    from matplotlib.figure import Figure  # not pyplot: it needs no display, and keeps no figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in _columns(swept):
        shares = [_share(swept, name, place) for place in range(len(swept.bars))]
        axes.plot(swept.bars, shares, marker="o", markersize=3, label=f"{name} ({_made(swept, name):,})")
    what = "proposals" if rule.proposals == "many" else "candidates"
    axes.set_xlabel(f"min_clip_logit (bar of {rule.score}, tolerance {rule.tolerance:g})")
    axes.set_ylabel(f"kept, share of the {what}")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.grid(alpha=0.3)
    axes.legend()
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150)
    return data.getvalue()


def _columns(swept: "Sweep") -> list[str]:
    return [*swept.made, _ALL] if len(swept.made) > 1 else [_ALL]


def _made(swept: "Sweep", name: str) -> int:
    return sum(swept.made.values()) if name == _ALL else swept.made[name]


def _kept(swept: "Sweep", name: str, place: int) -> int:
    return sum(kept[place] for kept in swept.kept.values()) if name == _ALL else swept.kept[name][place]


def _share(swept: "Sweep", name: str, place: int) -> float:
    return _kept(swept, name, place) / max(_made(swept, name), 1)
