"""`xpaste study`: what each part of a method is worth."""

from typing import Annotated

import typer

from xpaste_ray.cli.app import CacheOption, DryRunOption, app


def _print_studies(wanted: bool) -> None:
    if wanted:
        from xpaste_ray.studies import study_descriptions

        for name, description in study_descriptions().items():
            typer.echo(f"{name}: {description}")
        raise typer.Exit


@app.command()
def study(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study's YAML file, or the name of one that ships.")
    ],
    out: Annotated[str, typer.Option(help="The study's folder; the same command continues it.")],
    at_once: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings at a time; one on each GPU, or one on processors, if not given."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="a.b=value",
            help="Change the study, such as data.train=FILE or set.train.iterations=500; repeatable.",
        ),
    ] = None,
    show: Annotated[
        bool,
        typer.Option(
            "--list", callback=_print_studies, is_eager=True, help="Print the studies that ship, and exit."
        ),
    ] = False,
    dry_run: DryRunOption = False,
    cache_dir: CacheOption = None,
) -> None:
    """Train a detector for each arm and seed, and compare them: means, spreads, differences with intervals.

    Pools, contexts and trainings that are there already are not made again. Writes study.md, study.json and
    plots.
    """
    from xpaste_ray.pipelines.places import check_absolute
    from xpaste_ray.pipelines.study import plan_study, run_study
    from xpaste_ray.report import ConsoleProgress
    from xpaste_ray.report_study import print_study, print_study_plan
    from xpaste_ray.studies import load_study

    check_absolute("--out", out)
    told = load_study(study, overrides or ())
    for option, place in told.data:
        if place is not None and place not in told.pools:
            check_absolute(f"data.{option}", place)
    if dry_run:
        print_study_plan(told, plan_study(told, out))
        return
    with ConsoleProgress() as progress:
        summary = run_study(told, out, progress, at_once)
    print_study(summary, out)
