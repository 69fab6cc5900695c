"""What F-EM changed, iteration by iteration (a run of `xpaste foregrounds`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from xpaste_ray.foregrounds.record import REFINEMENT, read_refinement
from xpaste_ray.html_report.blocks import Cell, Column, Curves, Section, Series, Table
from xpaste_ray.html_report.given import Given, readable
from xpaste_ray.storage import locate

_FEW = 24


def refinement(given: Given) -> Section | None:
    """None for pools that did not come of it."""
    if given.pool is None:
        return None
    folder = locate(given.pool.origin.folder if given.pool.origin else given.pool.folder)
    if not (folder / REFINEMENT).is_file():
        return None
    with readable(folder / REFINEMENT):
        categories = read_refinement(folder)
        steps = max((len(one["iterations"]) for one in categories), default=0)
        blocks = (_curves(categories, steps), _table(categories, steps)) if categories else ()
    return Section("em", "F-EM", blocks, "Images whose chosen segment an iteration changed.")


def _curves(categories: Sequence[Mapping[str, Any]], steps: int) -> Curves:
    changed = [0] * steps
    for one in categories:
        for number, step in enumerate(one["iterations"]):
            changed[number] += step["changed"]
    series = (Series("changed", tuple(changed)),)
    return Curves("Changed segments", "iteration", "images", tuple(range(1, steps + 1)), series)


def _table(categories: Sequence[Mapping[str, Any]], steps: int) -> Table:
    columns = (
        Column("category", "text"), Column("images"), Column("segments"),
        *(Column(f"iteration {number}") for number in range(1, steps + 1)),
        Column("mean distance"), Column("fell back to", "text"),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for one in categories:
        changed = [step["changed"] for step in one["iterations"]]
        last = one["iterations"][-1]["mean_distance"] if changed else None
        padded = [*changed, *[None] * (steps - len(changed))]
        rows.append((one["category"], one["images"], one["segments"], *padded, last, one["fallback"] or ""))
    return Table("By category", columns, tuple(rows), folded=len(rows) > _FEW)
