"""How large pasted objects became, beside what a table of sizes expects of their categories."""

from collections.abc import Iterator

import numpy as np

from xpaste_ray.compose.size_table import SizeTable, load_size_table
from xpaste_ray.config import SizeSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.html_report.blocks import Block, Column, Section, Spread, Spreads, Table
from xpaste_ray.html_report.composed import Composed
from xpaste_ray.html_report.counting import histogram
from xpaste_ray.html_report.given import Given

_MOST_DRAWN = 16
_WHOLE = 0.999
_FEW = 24
_X = "sqrt(box area / image area)"


def sizes(given: Given) -> Section | None:
    """None without pasted objects."""
    composed = given.composed
    if composed is None or not composed.pasted.any():
        return None
    whole = composed.pasted & (composed.visible >= _WHOLE)
    groups = {
        "wholly visible": composed.box_share[whole],
        "cut or covered": composed.box_share[composed.pasted & ~whole],
    }
    shown = histogram("Sizes of pasted objects", _X, groups, note="Of the box of what is visible.")
    blocks: list[Block] = [shown] if shown else []
    rule = given.setting(SizeSettings, "compose", "size")
    table, problem = _size_table(rule, composed)
    if table is not None:
        blocks += _beside_prior(composed, table, whole)
    return Section("sizes", "Sizes", tuple(blocks), _note(rule, table, problem))


def _size_table(rule: SizeSettings | None, composed: Composed) -> tuple[SizeTable | None, str]:
    """The one that the dataset was made by; and why there is none, if it is gone."""
    if rule is None or rule.rule != "prior":
        return None, ""
    try:
        return load_size_table(rule.table, composed.spec.categories), ""
    except ConfigError as error:
        return None, str(error)


def _note(rule: SizeSettings | None, table: SizeTable | None, problem: str) -> str:
    if rule is None:
        return ""
    if problem:
        return f"The sizes follow a table that cannot be read any more: {problem}."
    if table is None:
        return f"The sizes follow the rule {rule.rule!r}, not a table."
    return (
        f"The sizes follow the table {rule.table!r}. Compared are objects of which everything is visible; "
        "limits of the rule (min_px, max_fraction) and objects that did not fit move what was realised."
    )


def _beside_prior(composed: Composed, table: SizeTable, whole: np.ndarray) -> Iterator[Block]:
    names = {category.id: category.name for category in composed.spec.categories}
    rows = [
        Spread(names[number], len(own), float(own.mean()), float(own.std()), *table.of(number))
        for number, own in _by_category(composed.category[whole], composed.box_share[whole])
    ]
    if not rows:
        return
    most = sorted(rows, key=lambda row: -row.count)[:_MOST_DRAWN]
    yield Spreads("Realised and expected, mean and standard deviation", _X, tuple(most))
    columns = [
        Column(name) for name in ("objects", "mean", "std", "expected mean", "expected std", "difference")
    ]
    cells = tuple(
        (
            row.name,
            row.count,
            row.mean,
            row.std,
            row.expected_mean,
            row.expected_std,
            row.mean - row.expected_mean,
        )
        for row in rows
    )
    folded = len(rows) > _FEW
    yield Table("Sizes by category", (Column("category", "text"), *columns), cells, folded=folded)


def _by_category(categories: np.ndarray, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The values of each category, by id."""
    order = np.argsort(categories, kind="stable")
    numbers, starts = np.unique(categories[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(values[order], starts[1:]), strict=True)
