"""What a person sees of a detector's training."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from xpaste_ray.report import print_stages

if TYPE_CHECKING:
    from xpaste_ray.pipelines.job import Summary
    from xpaste_ray.pipelines.train_detector import TrainingInputs

_COLUMNS = ("ap", "ap50", "ap75", "rare", "common", "frequent")


def print_training_plan(inputs: "TrainingInputs") -> None:
    """What would be trained, on what."""
    console, training = Console(), inputs.settings.train
    pasted = f"{len(inputs.pool)} instances of a pool" if inputs.pool else "nothing of a pool"
    lines = [
        f"train {training.detector.arch} for {training.iterations:,} iterations of {training.batch} images, "
        f"{len(inputs.card.categories)} categories",
        f"  from      {inputs.weights or 'random numbers'}",
        f"  images    {len(inputs.backgrounds):,}, pasted on them: {pasted}, copy_rule "
        f"{inputs.settings.compose.copy_rule}",
        *(
            f"  beside    {one.share:.0%} of {one.name}, {len(one.backgrounds):,} images"
            for one in inputs.mixed
        ),
        f"  validated on {len(inputs.validation):,} images" if inputs.validation else "  not validated",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_training(summary: "Summary", out: str) -> None:
    """How long it took, what validation says, and where the detector is."""
    console, counts = Console(), summary.counts
    print_stages(console, summary, out)
    if "validation" in counts:
        table = Table(title="validation, %", title_justify="left")
        for title in ("", *_COLUMNS):
            table.add_column(title, justify="right" if title else "left")
        for kind, told in (("mask", "segm"), ("box", "bbox")):
            found = [counts["validation"][told].get(name) for name in _COLUMNS]
            table.add_row(kind, *("" if value is None else f"{100 * value:.1f}" for value in found))
        console.print(table)
    folder = Path(out) / "detector"
    told = counts["train"]
    console.print(
        f"{told['iterations']:,} iterations, loss {told['loss']:.3g}: {folder}, its curves in "
        f"{folder / 'curves.png'}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
