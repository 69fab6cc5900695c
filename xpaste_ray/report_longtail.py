"""What a person sees of a long tail: how many masks its classes should have, and have, as text and plot."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from xpaste_ray.longtail import LongTail

_MOST_ROWS = 60  # of a table that a person reads


def print_long_tail(tail: "LongTail", names: Sequence[str]) -> None:
    """A row a class, or so many of them, evenly over the ranks. names: by column."""
    classes = len(tail.classes)
    table = Table()
    for column in ("rank", "class", "all", "reference", "achieved"):
        table.add_column(column, justify="left" if column == "class" else "right")
    shown = np.unique(np.linspace(0, classes - 1, min(classes, _MOST_ROWS)).astype(int)).tolist()
    for rank in shown:
        numbers = (int(column[rank]) for column in (tail.totals, tail.reference, tail.achieved))
        table.add_row(str(rank + 1), escape(names[int(tail.classes[rank])]), *map(str, numbers))
    console = Console()
    console.print(table)
    if len(shown) < classes:
        console.print(f"{len(shown)} of {classes} classes are shown", highlight=False)
    console.print(
        f"{len(tail.images):,} images, {int(tail.achieved.sum()):,} masks of {classes} classes, "
        f"{int(tail.achieved.max()):,} to {int(tail.achieved.min()):,} a class; "
        f"{tail.misfit:.1%} of the masks are too many or too few",
        highlight=False,
        soft_wrap=True,
    )


def long_tail_png(tail: "LongTail") -> bytes:
    """Masks over the rank of the class: all, reference and achieved, on a logarithmic scale."""
    from matplotlib.figure import Figure  # not pyplot: it needs no display, and keeps no figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    ranks = np.arange(1, len(tail.classes) + 1)
    axes.plot(ranks, tail.totals, color="0.7", label=f"all ({int(tail.totals.sum()):,})")
    axes.plot(ranks, tail.reference, linestyle="--", label=f"reference ({int(tail.reference.sum()):,})")
    axes.plot(
        ranks, tail.achieved, marker="o", markersize=3, label=f"achieved ({int(tail.achieved.sum()):,})"
    )
    axes.set_yscale("log")
    axes.set_xlabel("rank of the class")
    axes.set_ylabel("masks")
    axes.grid(alpha=0.3)
    axes.legend()
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=150)
    return data.getvalue()
