"""`xpaste prompts show`: the work list of a run, before it is run."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xpaste_ray.cli.app import PresetOption, SetOption, prompts_app
from xpaste_ray.cli.categories import CategoriesOption, categories_given, check_categories

if TYPE_CHECKING:
    from xpaste_ray.config import PoolSettings
    from xpaste_ray.records import Prompt

_COLUMNS = ("category", "index", "source", "seed", "text or place")
_UNSEARCHED = "(not searched yet)"
_WIDEST = 40  # characters of all columns but the last


@prompts_app.command("show")
def prompts_show(
    preset: PresetOption = "demo",
    categories: CategoriesOption = None,
    category: Annotated[str | None, typer.Option(metavar="NAME", help="Only this one's.")] = None,
    per_category: Annotated[
        int | None, typer.Option(min=1, help="Images of each category; the preset's if not given.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Print at most so many.")] = 50,
    format: Annotated[Literal["table", "jsonl"], typer.Option(help="jsonl: all that is known of each.")] = (
        "table"
    ),
    overrides: SetOption = None,
) -> None:
    """Print the prompts that `pool build` would use with the same options, in its order."""
    from xpaste_ray.config import PoolSettings, load

    given = categories_given(categories)
    if per_category:
        given["prompts.per_category"] = per_category
    settings = load(PoolSettings, preset, overrides or (), given)
    check_categories(categories, settings.categories.vocabulary)
    notes, prompts = _planned(settings, category)
    shown = list(islice(prompts, limit))
    for note in notes:
        typer.echo(note, err=True)
    for line in map(_json, shown) if format == "jsonl" else _table(shown):
        typer.echo(line)
    if next(prompts, None) is not None:
        typer.echo(f"and more: these are the first {len(shown)}, --limit N shows more", err=True)


def _planned(settings: "PoolSettings", only: str | None) -> tuple[list[str], Iterator["Prompt"]]:
    """Notes on the sources, and the prompts of the work list."""
    from xpaste_ray.categories import pick_categories
    from xpaste_ray.pipelines.opening import chosen_categories, notes_on, open_sources
    from xpaste_ray.sources.work_list import plan_units

    chosen = chosen_categories(settings)
    sources = open_sources(settings, chosen, to_show=True)
    wanted = chosen if only is None else pick_categories(chosen, [only])
    units = plan_units(wanted, sources, settings.sources, settings.prompts.per_category)
    return notes_on(settings, sources), (prompt for unit in units for prompt in unit.prompts)


def _json(prompt: "Prompt") -> str:
    told = {name: value for name, value in asdict(prompt).items() if value is not None}
    return json.dumps(told, ensure_ascii=False)


def _table(prompts: Iterable["Prompt"]) -> Iterator[str]:
    rows: list[Sequence[str]] = [_COLUMNS]
    for prompt in prompts:
        seed = "" if prompt.seed is None else str(prompt.seed)
        what = prompt.text or prompt.uri or _UNSEARCHED
        rows.append([_one_line(prompt.category), str(prompt.index), prompt.source, seed, _one_line(what)])
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()


def _one_line(text: str) -> str:
    """Line ends and the like as they are written in Python: a name must not break the table."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
