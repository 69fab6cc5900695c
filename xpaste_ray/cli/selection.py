"""`xpaste pool select | sweep`: another selection of a run that is made, without a model."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

import typer

from xpaste_ray.cli.app import SetOption, pool_app

_RunArgument = Annotated[str, typer.Argument(help="The run: a folder, s3://... or gs://...")]
_ToleranceOption = Annotated[
    float | None, typer.Option(help="How far below its category's best a score may be, whatever the bar.")
]
_MinAreaOption = Annotated[float | None, typer.Option("--min-area", help="Least part of the image.")]
_MaxAreaOption = Annotated[float | None, typer.Option("--max-area", help="Largest part of the image.")]
_ProposalsOption = Annotated[
    Literal["one-per-image", "many"] | None,
    typer.Option(help="The best proposal of each image, or all that pass and that no better one covers."),
]
_PerCategoryOption = Annotated[int | None, typer.Option(help="At most so many a category.", min=1)]


@pool_app.command("select")
def pool_select(
    run: _RunArgument,
    min_clip_logit: Annotated[float | None, typer.Option(help="The bar, 100 x cosine.")] = None,
    tolerance: _ToleranceOption = None,
    min_area: _MinAreaOption = None,
    max_area: _MaxAreaOption = None,
    rule: Annotated[
        Literal["bar", "threshold"] | None,
        typer.Option(
            help="bar: min(min_clip_logit, best - tolerance); threshold: a cosine above min_cosine."
        ),
    ] = None,
    min_cosine: Annotated[float | None, typer.Option(help="Of the rule `threshold`.")] = None,
    proposals: _ProposalsOption = None,
    max_per_category: _PerCategoryOption = None,
    pick: Annotated[Literal["best", "random"] | None, typer.Option(help="Which of a category.")] = None,
    overrides: SetOption = None,
) -> None:
    """Seal another pool of a run, from its scores alone, and make it the run's current one.

    What is not given is as the run's build had it. Earlier pools stay; building again, with the build's own
    command, or selecting without options goes back to the first.
    """
    from xpaste_ray.pipelines.select import select_pool
    from xpaste_ray.report import ConsoleProgress, print_pool_summary

    values = {
        "min_clip_logit": min_clip_logit, "tolerance": tolerance, "min_area_fraction": min_area,
        "max_area_fraction": max_area, "rule": rule, "min_cosine": min_cosine, "proposals": proposals,
        "max_per_category": max_per_category, "pick": pick,
    }  # fmt: skip
    with ConsoleProgress() as progress:
        summary = select_pool(run, progress, overrides or (), _given(values))
    print_pool_summary(summary, run)


@pool_app.command("sweep")
def pool_sweep(
    run: _RunArgument,
    min_clip_logit: Annotated[
        str, typer.Option(metavar="FROM:TO:STEP", help="The bars; both ends are among them.")
    ] = "19:28:0.5",
    tolerance: _ToleranceOption = None,
    min_area: _MinAreaOption = None,
    max_area: _MaxAreaOption = None,
    proposals: _ProposalsOption = None,
    max_per_category: _PerCategoryOption = None,
    overrides: SetOption = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE.png", help="The plot; a .csv is written beside it. RUN/sweep.png."),
    ] = None,
) -> None:
    """Print how many instances each bar would keep; write a plot and a table. Nothing is sealed."""
    from xpaste_ray.errors import ConfigError
    from xpaste_ray.pipelines.select import sweep_pool
    from xpaste_ray.report_selection import bars_of, print_sweep, sweep_csv, sweep_png
    from xpaste_ray.storage import locate

    bars = bars_of(min_clip_logit)
    plot = locate(out) if out else locate(run) / "sweep.png"
    if PurePosixPath(plot.key).suffix != ".png":
        raise ConfigError(f"--out {out}: give a name that ends in .png")
    values = {
        "tolerance": tolerance, "min_area_fraction": min_area, "max_area_fraction": max_area,
        "proposals": proposals, "max_per_category": max_per_category,
    }  # fmt: skip
    swept, rule = sweep_pool(run, bars, overrides or (), _given(values))
    table = plot.parent / f"{PurePosixPath(plot.key).stem}.csv"
    table.write_whole(sweep_csv(swept).encode())
    plot.write_whole(sweep_png(swept, rule))
    print_sweep(swept, rule)
    for file in (table, plot):
        typer.echo(f"  {file}")


def _given(values: dict[str, object]) -> dict[str, object]:
    """Those that are, by their paths in the settings."""
    return {f"select.{name}": value for name, value in values.items() if value is not None}
