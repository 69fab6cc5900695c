"""What a person sees of an evaluation."""

from dataclasses import astuple, fields
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xpaste_ray.evaluation import CategoryScores, Evaluation, Scores
from xpaste_ray.report import print_stages

if TYPE_CHECKING:
    from xpaste_ray.pipelines.job import Summary

_MOST_ROWS = 40  # of a table that a person reads
_HEADINGS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "frequent": "freq."}


def print_evaluation(evaluation: Evaluation, summary: "Summary", out: str) -> None:
    """Average precision in per cent, of masks and boxes, then by category; those with objects only."""
    console = Console()
    print_stages(console, summary, out)
    console.print(_overall(evaluation))
    there = [one for one in evaluation.categories if one.ap_segm is not None]
    ranked = sorted(there, key=lambda one: (-(one.ap_segm or 0), one.id))
    console.print(_by_category(ranked))
    if len(ranked) > _MOST_ROWS:
        console.print(f"the best and the worst of {len(ranked):,} categories are shown", highlight=False)
    counts: dict[str, Any] = summary.counts
    rules = "LVIS's federated rules" if counts["federated"] else "COCO's rules"
    images = counts["images"]["usable"]
    console.print(
        f"{counts['predictions']:,} predictions for {counts['objects']:,} objects in {images:,} images, "
        f"by {rules}; all in {out}: evaluation.json, per_category.csv, sheet.jpg",
        highlight=False,
        soft_wrap=True,
    )


def _overall(evaluation: Evaluation) -> Table:
    table = Table(title="average precision, %")
    table.add_column("")
    for one in fields(Scores):
        table.add_column(_HEADINGS.get(one.name, one.name), justify="right")
    for what, scores in (("masks", evaluation.segm), ("boxes", evaluation.bbox)):
        table.add_row(what, *map(_percent, astuple(scores)))
    return table


def _by_category(ranked: list[CategoryScores]) -> Table:
    half = _MOST_ROWS // 2
    shown = ranked if len(ranked) <= _MOST_ROWS else [*ranked[:half], *ranked[-half:]]
    table = Table()
    for column in ("category", "frequency", "images", "objects", "AP masks", "AP boxes"):
        table.add_column(column, justify="left" if column == "category" else "right")
    for one in shown:
        counted = (f"{one.images:,}", f"{one.instances:,}")
        table.add_row(
            escape(one.name), one.frequency or "", *counted, _percent(one.ap_segm), _percent(one.ap_bbox)
        )
    return table


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.1f}"
