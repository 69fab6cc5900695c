"""`xpaste pool build | verify`: runs of the pool pipeline."""

from typing import Annotated, Literal

import typer

from xpaste_ray.cli.app import (
    CacheOption,
    DryRunOption,
    PresetOption,
    ResourcesOption,
    RetryFailedOption,
    RunOption,
    SetOption,
    pool_app,
)
from xpaste_ray.cli.categories import CategoriesOption, categories_given, check_categories


@pool_app.command("build")
def pool_build(
    out: RunOption,
    categories: CategoriesOption = None,
    preset: PresetOption = "demo",
    resources: ResourcesOption = "preset",
    plan: Annotated[
        Literal["streaming", "sequential"],
        typer.Option(help="All stages at once, or one after the other for a GPU too small for all models."),
    ] = "streaming",
    dry_run: DryRunOption = False,
    retry_failed: RetryFailedOption = False,
    overrides: SetOption = None,
    cache_dir: CacheOption = None,
) -> None:
    """Generate, cut out, score and select instances; on this machine, or as a job on a Ray cluster."""
    from xpaste_ray.config import PoolSettings, load
    from xpaste_ray.pipelines.build import BuildOptions, build_pool, plan_pool
    from xpaste_ray.pipelines.places import check_absolute, places_of
    from xpaste_ray.report import ConsoleProgress, print_pool_summary

    check_absolute("--out", out)
    given = categories_given(categories)
    if resources == "auto":
        given |= {f"resources.{stage}": "auto" for stage in ("source", "segment", "score")}
    settings = load(PoolSettings, preset, overrides or (), given)
    check_categories(categories, settings.categories.vocabulary)
    for option, place in places_of(settings):
        check_absolute(option, place)
    options = BuildOptions(plan, retry_failed)
    with ConsoleProgress() as progress:
        if dry_run:
            plan_pool(settings, out, progress, options)
            return
        summary = build_pool(settings, out, progress, options)
    print_pool_summary(summary, out)


@pool_app.command("verify")
def pool_verify(
    run: Annotated[str, typer.Argument(help="A run or a pool: a folder, s3://... or gs://...")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove damaged files; the next build makes exactly them again.")
    ] = False,
) -> None:
    """Read everything that a build made, or a pool, and check it; exit code 1 if anything is wrong."""
    from xpaste_ray.cli.pool_files import verify_files
    from xpaste_ray.pipelines.verify import repair as remove_damaged
    from xpaste_ray.pipelines.verify import verify_pool
    from xpaste_ray.report import ConsoleProgress
    from xpaste_ray.runs import RunDir, open_run

    place = RunDir(run)
    if verify_files(place.root, repair):
        return
    with ConsoleProgress() as progress:
        findings = verify_pool(place, progress)
    for finding in findings:
        typer.echo(finding.line(place))
    if repair and findings:
        with open_run(run) as held:
            removed = remove_damaged(findings)
        what = "damaged file" if removed == 1 else "damaged files"
        typer.echo(f"{removed} {what} removed: build {held.root} again, with the same command")
    if findings:
        raise typer.Exit(1)
    typer.echo(f"{run} is whole")
