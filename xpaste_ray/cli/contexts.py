"""`xpaste contexts` and `xpaste contexts show`: images to paste on, generated from captions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xpaste_ray.cli.app import CacheOption, DryRunOption, PresetOption, RetryFailedOption, SetOption, app
from xpaste_ray.errors import ConfigError

if TYPE_CHECKING:
    from xpaste_ray.config import Contexts

contexts_app = typer.Typer(help="Images to paste on, generated from captions without the target classes.")
app.add_typer(contexts_app, name="contexts")


@contexts_app.callback(invoke_without_command=True)
def contexts(
    context: typer.Context,
    out: Annotated[
        str | None,
        typer.Option(help="The run: a folder, s3://... or gs://...; the same command continues it."),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled images, whose categories must not be shown: a folder for each category, VOC, "
            "COCO, LVIS or a list. The preset's if not given.",
        ),
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Captions that are there already: .csv, .jsonl, .parquet, COCO's."),
    ] = None,
    fraction: Annotated[
        float | None, typer.Option(help="Part of the images that is captioned; the preset's if not given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The preset's if not given.")] = None,
    dry_run: DryRunOption = False,
    retry_failed: RetryFailedOption = False,
    preset: PresetOption = "empaste-voc",
    overrides: SetOption = None,
    cache_dir: CacheOption = None,
) -> None:
    """Caption images, put distractors for the target classes, generate, and keep what fits best.

    Another --set contexts.select... keeps other images of the same run, without a model.
    """
    if context.invoked_subcommand is not None:
        return
    from xpaste_ray.config import ContextSettings, change, load
    from xpaste_ray.pipelines.contexts import make_contexts, plan_contexts
    from xpaste_ray.pipelines.places import check_absolute, context_places
    from xpaste_ray.report import ConsoleProgress
    from xpaste_ray.report_contexts import print_contexts_summary

    if out is None:
        raise ConfigError("--out is missing: give the run's folder, such as --out runs/contexts")
    values = {
        "contexts.captions": {"kind": "given", "file": captions} if captions else None,
        "contexts.fraction": fraction,
        "seed": seed,
    }
    settings = load(ContextSettings, preset)
    if images:
        told = settings.contexts.images
        values["contexts.images"] = {**(told.model_dump(mode="json") if told else {}), "path": images}
    given = {path: value for path, value in values.items() if value is not None}
    settings = change(settings, overrides or (), given)
    _check_own_images(settings.contexts)
    check_absolute("--out", out)
    for option, place in context_places(settings):
        check_absolute(option, place)
    with ConsoleProgress() as progress:
        if dry_run:
            plan_contexts(settings, out, progress)
            return
        summary = make_contexts(settings, out, progress, retry_failed)
    print_contexts_summary(summary, out)


def _check_own_images(told: "Contexts") -> None:
    """ConfigError if images that ship would be captioned: they stand in a preset in the place of others."""
    if told.captions.kind == "blip" and told.images and told.images.path.startswith("embedded:"):
        raise ConfigError("--images is missing: give the labelled images that contexts are made for")


@contexts_app.command("show")
def contexts_show(
    run: Annotated[str, typer.Argument(help="A finished run of `xpaste contexts`.")],
    out: Annotated[Path, typer.Option(help="PNG file to write; more pages get a number: sheet-2.png.")],
    first: Annotated[int, typer.Option(min=0, help="The first image that is shown, from 0.")] = 0,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many images are shown.")] = 8,
) -> None:
    """A contact sheet: image, caption, replaced caption, and what was kept and dropped of it."""
    from xpaste_ray.contexts.sheet import draw_sheets
    from xpaste_ray.masks import encode_png
    from xpaste_ray.pipelines.context_show import shown_contexts
    from xpaste_ray.runs import write_whole

    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out}: give a file name that ends in .png")
    pages = 0
    for pages, page in enumerate(draw_sheets(shown_contexts(run, first, count)), 1):
        write_whole(out if pages == 1 else out.with_stem(f"{out.stem}-{pages}"), encode_png(page))
    typer.echo(f"{pages} {'page' if pages == 1 else 'pages'}: {out}")
