"""What a person sees of F-EM: what became of the images, and what each iteration changed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from xpaste_ray.outcomes import Outcome
from xpaste_ray.report import outcome_columns, print_dataset_summary, print_stages
from xpaste_ray.report_contexts import print_contexts_summary
from xpaste_ray.report_selection import empty_category_lines

if TYPE_CHECKING:
    from xpaste_ray.pipelines.job import Summary

_MOST_CATEGORIES = 30


def print_foregrounds(summary: "Summary", out: str) -> None:
    """What became of pairs of an image and a category, the loop by category, and where everything is."""
    from xpaste_ray.foregrounds.record import read_refinement
    from xpaste_ray.pool.reader import current_pool

    console, counts = Console(), summary.counts
    print_stages(console, summary, out)
    table = outcome_columns()
    rejected = counts["images"]["rejected"]
    usable = counts["images"]["usable"]
    table.add_row(*Outcome("images", usable + sum(rejected.values()), usable, rejected).cells)
    for kind, shown in (("candidates", "image, category"), ("proposals", "segments")):
        table.add_row(*Outcome(shown, **counts[kind]).cells)
    console.print(table)
    console.print(refinement_table(read_refinement(current_pool(out))))
    for line in empty_category_lines(counts.get("empty_categories", {})):
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
    told = counts["annotations"]
    console.print(
        f"{counts['proposals']['kept']} instances in {out}; {told['annotations']} masks on {told['images']} "
        f"images in {out}/annotations.json",
        highlight=False,
        soft_wrap=True,
    )


def print_empaste_demo(summaries: "Mapping[str, Summary]", out: Path, formats: tuple[str, ...]) -> None:
    """What each part made, and what there is to look at."""
    from xpaste_ray.pipelines import empaste_demo as parts

    print_foregrounds(summaries[parts.FOREGROUNDS], str(out / parts.FOREGROUNDS))
    print_contexts_summary(summaries[parts.CONTEXTS], str(out / parts.CONTEXTS))
    print_dataset_summary(summaries[parts.DATASET], out / parts.DATASET, formats)
    for name in (parts.FOREGROUNDS_PNG, parts.CONTEXTS_PNG, parts.PREVIEW, "report.html"):
        Console().print(f"  {out / name}", highlight=False, soft_wrap=True)


def refinement_table(categories: Sequence[Mapping[str, Any]]) -> Table:
    """Of each category, images whose segment changed in each iteration. The largest categories, if there are
    many."""
    shown = sorted(categories, key=lambda one: -one["images"])[:_MOST_CATEGORIES]
    steps = max((len(one["iterations"]) for one in shown), default=0)
    more = (
        f" (the {len(shown)} largest of {len(categories)} categories)" if len(shown) < len(categories) else ""
    )
    table = Table(title=f"F-EM: images whose segment changed{more}", title_justify="left")
    for title in (
        "category",
        "images",
        "segments",
        *(f"iteration {i + 1}" for i in range(steps)),
        "distance",
    ):
        table.add_column(title, justify="left" if title == "category" else "right")
    for one in shown:
        changed = [str(step["changed"]) for step in one["iterations"]]
        last = one["iterations"][-1]["mean_distance"] if changed else None
        distance = f"step 1 ({one['fallback'] or 'no iterations'})" if last is None else f"{last:.3g}"
        cells = (one["category"].replace("[", r"\["), str(one["images"]), str(one["segments"]))
        table.add_row(*cells, *_padded(changed, steps), distance)
    return table


def _padded(cells: Iterable[str], count: int) -> list[str]:
    found = list(cells)
    return found + [""] * (count - len(found))
