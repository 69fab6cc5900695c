"""What a person sees of a pool."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from xpaste_ray.pool.stats import PoolInfo, ScoreSpread

_BARS = " ▁▂▃▄▅▆▇█"


def print_pool_info(info: PoolInfo, where: str, console: Console | None = None) -> None:
    """Counts, then the scores: a row for each source and each category, those without instances too."""
    console = console or Console()
    console.print(f"{where}: {info.instances} instances of {len(info.categories)} categories, "
                  f"{info.bytes / 1e6:.1f} MB", markup=False, highlight=False)  # fmt: skip
    console.print(f"format {info.format}, fingerprint {info.fingerprint}", markup=False, highlight=False)
    for name, counts in info.counts.items():
        told = ", ".join(f"{value} {count}" for value, count in counts.items()) or "none"
        console.print(f"by {name}: {told}", markup=False, highlight=False)
    console.print(_score_table(info))
    if info.empty_categories:
        console.print(f"{info.empty_categories} of {len(info.categories)} categories have no instance")


def print_new_pool(out: str, counts: Mapping[str, int], rejected: Mapping[str, int]) -> None:
    """counts: what came in and what did not, by name; rejected: how many, by reason."""
    console = Console()
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    console.print(f"{out}: {told}", markup=False, highlight=False)
    for reason, count in sorted(rejected.items()):
        console.print(f"  {reason} {count}", markup=False, highlight=False)


def bars(histogram: Sequence[int]) -> str:
    """A character a bin, its height a share of the highest bin's; a bin with anything in it shows."""
    top = max(histogram, default=0)
    steps = len(_BARS) - 1
    return "".join(_BARS[-(-count * steps // top) if top else 0] for count in histogram)


def _score_table(info: PoolInfo) -> Table:
    span = f" {info.edges[0]:.3g} to {info.edges[-1]:.3g}" if info.edges else ": none"
    table = Table(title=f"{info.score}{span}", title_justify="left")
    for title in ("", "instances", "lowest", "median", "highest", ""):
        table.add_column(title, justify="right" if title else "left", no_wrap=bool(title))
    for source, count in info.counts["source"].items():
        table.add_row(*_cells(f"source {source}", count, info.by_source.get(source)))
    table.add_section()
    for number, name, count in info.categories:
        table.add_row(*_cells(name, count, info.by_category.get(number)))
    return table


def _cells(name: str, count: int, spread: ScoreSpread | None) -> tuple[str, ...]:
    shown = name.replace("[", r"\[")
    if spread is None:
        return shown, str(count), "", "", "", ""
    numbers = (f"{value:.1f}" for value in (spread.lowest, spread.median, spread.highest))
    return shown, str(count), *numbers, bars(spread.histogram)
