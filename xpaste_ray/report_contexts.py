"""What a person sees when contexts are made."""

from typing import TYPE_CHECKING

from rich.console import Console

from xpaste_ray.outcomes import Outcome
from xpaste_ray.report import outcome_columns, print_stages

if TYPE_CHECKING:
    from xpaste_ray.pipelines.job import Summary


def print_contexts_summary(summary: "Summary", out: str) -> None:
    """What became of images, captions and generated images, and where those are that were kept."""
    console = Console()
    print_stages(console, summary, out)
    table = outcome_columns()
    for kind in ("images", "captions", "contexts"):
        if kind in summary.counts:
            table.add_row(*Outcome(kind, **summary.counts[kind]).cells)
    console.print(table)
    kept = summary.counts["contexts"]["kept"]
    console.print(f"{kept} images to paste on, in {out} (contexts.json)", highlight=False, soft_wrap=True)
