"""`xpaste foregrounds`: masks from image-level labels."""

from typing import Annotated, Literal

import typer

from xpaste_ray.cli.app import CacheOption, PresetOption, SetOption, app


@app.command()
def foregrounds(
    images: Annotated[
        str,
        typer.Option(
            help="Images with labels: a folder for each category, a VOC folder, a COCO or LVIS file, or a "
            "list (.csv, .jsonl, .parquet) with the columns path and category."
        ),
    ],
    out: Annotated[
        str, typer.Option(help="The run: a folder, s3://... or gs://...; the same command continues it.")
    ],
    preset: PresetOption = "empaste-voc",
    resources: Annotated[
        Literal["preset", "auto"],
        typer.Option(help="auto: actors and shares of GPUs for all stages as the cluster allows."),
    ] = "preset",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run units again that lost images to a passing failure.")
    ] = False,
    overrides: SetOption = None,
    cache_dir: CacheOption = None,
) -> None:
    """Find the objects that image-level labels name (EM-Paste): an instance pool, and annotations.json."""
    from xpaste_ray.config import ForegroundSettings, load
    from xpaste_ray.pipelines.foregrounds import make_foregrounds, plan_foregrounds
    from xpaste_ray.pipelines.places import check_absolute, foreground_places
    from xpaste_ray.report import ConsoleProgress
    from xpaste_ray.report_em import print_foregrounds

    check_absolute("--out", out)
    given: dict[str, object] = {"foregrounds.images.path": images}
    if resources == "auto":
        given |= {f"resources.{stage}": "auto" for stage in ("segment", "score", "train")}
    settings = load(ForegroundSettings, preset, overrides or (), given)
    for option, place in foreground_places(settings):
        check_absolute(option, place)
    with ConsoleProgress() as progress:
        if dry_run:
            plan_foregrounds(settings, out, progress)
            return
        summary = make_foregrounds(settings, out, progress, retry_failed)
    print_foregrounds(summary, out)
