"""`xpaste foregrounds`: masks from image-level labels."""

from typing import Annotated

import typer

from xpaste_ray.cli.app import (
    CacheOption,
    DryRunOption,
    PresetOption,
    ResourcesOption,
    RetryFailedOption,
    RunOption,
    SetOption,
    app,
)


@app.command()
def foregrounds(
    images: Annotated[
        str,
        typer.Option(
            help="Images with labels: a folder for each category, a VOC folder, a COCO or LVIS file, or a "
            "list (.csv, .jsonl, .parquet) with the columns path and category."
        ),
    ],
    out: RunOption,
    preset: PresetOption = "empaste-voc",
    resources: ResourcesOption = "preset",
    dry_run: DryRunOption = False,
    retry_failed: RetryFailedOption = False,
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
