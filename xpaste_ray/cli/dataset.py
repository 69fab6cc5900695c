"""`xpaste compose | render | convert | validate`: datasets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xpaste_ray.cli.app import CacheOption, ColumnOption, ImagesOption, PresetOption, SetOption, app
from xpaste_ray.errors import ConfigError

if TYPE_CHECKING:
    from xpaste_ray.config import DatasetSettings


PoolOption = Annotated[
    str, typer.Option(help="A run with a sealed pool, or a pool's folder; s3:// and gs:// are copied once.")
]
BackgroundsOption = Annotated[
    str,
    typer.Option(
        help="A folder of images, a COCO or LVIS JSON file, Parquet, or a colour (black, #808080:640x480)."
    ),
]
ContextsOption = Annotated[
    str | None,
    typer.Option(
        help="Other images to paste on, without labels: a run of `xpaste contexts`, or a folder; how often, "
        "`compose.mix` says.",
    ),
]
FormatOption = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="coco, lvis, yolo, voc, webdataset or parquet; several with commas, or repeated. "
        "`compose`: the preset's if not given.",
    ),
]


def _each_format(given: list[str] | None) -> list[str]:
    """coco,yolo is two formats, and each is given once."""
    formats = [name.strip() for several in given or () for name in several.split(",")]
    for name in formats:
        if formats.count(name) > 1:
            raise ConfigError(f"--format {name} is given {formats.count(name)} times: give each format once")
    return formats


def _dataset_settings(
    preset: str,
    overrides: list[str] | None,
    backgrounds: str,
    images: str | None,
    column: str | None,
    contexts: str | None,
    **values: object,
) -> "DatasetSettings":
    """A preset with the options that have names of their own."""
    from xpaste_ray.config import DatasetSettings, load

    named = {
        "compose.backgrounds": backgrounds,
        "compose.background_images": images,
        "compose.background_column": column,
        "compose.contexts": contexts,
        **{key.replace("__", "."): value for key, value in values.items()},
    }
    given = {key: value for key, value in named.items() if value not in (None, [])}
    return load(DatasetSettings, preset, overrides or (), given)


@app.command()
def compose(
    pool: PoolOption,
    backgrounds: BackgroundsOption,
    out: Annotated[Path, typer.Option(help="The dataset's folder; the same command continues it.")],
    count: Annotated[
        int | None, typer.Option(min=1, help="How many images; the preset's if not given.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Another seed gives other images; the preset's if not given.")
    ] = None,
    formats: FormatOption = None,
    images: ImagesOption = None,
    column: ColumnOption = None,
    exclude_categories: Annotated[
        list[str] | None, typer.Option(help="Only backgrounds without this category; repeatable.")
    ] = None,
    contexts: ContextsOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Compose on so many cores; the preset's if not given.")
    ] = None,
    plans_only: Annotated[bool, typer.Option("--plans-only", help="Write the plans as Parquet.")] = False,
    from_plans: Annotated[Path | None, typer.Option(help="Render these plans instead of new ones.")] = None,
    preset: PresetOption = "xpaste",
    overrides: SetOption = None,
    cache_dir: CacheOption = None,
) -> None:
    """Paste instances of a pool on backgrounds: a labelled dataset in any format."""
    from xpaste_ray.pipelines.dataset import compose_dataset, open_job, write_dataset_plans
    from xpaste_ray.pipelines.places import check_absolute
    from xpaste_ray.report import ConsoleProgress, print_dataset_summary

    given = {"--out": str(out), "--pool": pool, "--backgrounds": backgrounds, "--contexts": contexts or ""}
    for option, place in given.items():
        maybe_colour = option in ("--backgrounds", "--contexts")  # or embedded:
        if not maybe_colour or Path(place).suffix or "/" in place:
            check_absolute(option, place)
    if from_plans and plans_only:
        raise ConfigError("--plans-only goes without --from-plans: those plans are written already")
    if from_plans and count is not None:
        raise ConfigError("--count goes without --from-plans: all of the plans are rendered")
    settings = _dataset_settings(
        preset,
        overrides,
        backgrounds,
        images,
        column,
        contexts,
        compose__exclude_categories=exclude_categories,
        compose__output__formats=_each_format(formats),
        compose__count=count,
        seed=seed,
        resources__compose__actors=workers,
    )
    job = open_job(settings, pool, from_plans)
    with ConsoleProgress() as progress:
        if plans_only:
            typer.echo(write_dataset_plans(job, settings, out, progress))
            return
        summary = compose_dataset(job, settings, out, progress)
    print_dataset_summary(summary, out, job.settings.output.formats)


@app.command()
def render(
    plans: Annotated[Path, typer.Option(help="A folder of plans, as `compose --plans-only` writes.")],
    sample: Annotated[int, typer.Option(help="The sample's number.")],
    pool: PoolOption,
    backgrounds: BackgroundsOption,
    out: Annotated[Path, typer.Option(help="Image file to write: .png, .jpg or .webp.")],
    images: ImagesOption = None,
    column: ColumnOption = None,
    contexts: ContextsOption = None,
    preset: PresetOption = "xpaste",
    overrides: SetOption = None,
    cache_dir: CacheOption = None,
) -> None:
    """Render one sample again from its plan alone, and print its annotations as JSON."""
    import json

    from xpaste_ray.formats.images import ImageEncoding, encode_image
    from xpaste_ray.pipelines.dataset import open_job
    from xpaste_ray.pipelines.plans import open_plans
    from xpaste_ray.runs import write_whole
    from xpaste_ray.samples import sample_to_json

    formats = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
    if out.suffix.lower() not in formats:
        raise ConfigError(f"--out {out}: give a file name that ends in one of {', '.join(formats)}")
    settings = _dataset_settings(preset, overrides, backgrounds, images, column, contexts)
    composed = open_job(settings, pool).compositor().render(open_plans(plans).plan(sample))
    output = settings.compose.output
    encoding = ImageEncoding(
        format=formats[out.suffix.lower()], quality=output.quality, subsampling=output.subsampling
    )
    write_whole(out, encode_image(composed.image, encoding))
    typer.echo(json.dumps(sample_to_json(composed.sample), indent=2))


@app.command()
def convert(
    dataset: Annotated[Path, typer.Argument(help="A dataset that was composed or converted.")],
    out: Annotated[Path, typer.Option(help="Folder of the new dataset.")],
    formats: FormatOption = None,
    polygons: Annotated[bool, typer.Option("--polygons", help="COCO and LVIS masks as polygons.")] = False,
) -> None:
    """Write a dataset again in other formats."""
    from xpaste_ray.formats.contract import FORMAT_NAMES, read_spec
    from xpaste_ray.formats.convert import conversion_notes
    from xpaste_ray.formats.convert import convert as convert_dataset
    from xpaste_ray.report import CountingProgress

    names = _each_format(formats)
    if not names:
        raise ConfigError(f"--format is missing: give one or more of {', '.join(FORMAT_NAMES)}")
    total = read_spec(dataset).count
    with CountingProgress("convert", total, "images") as progress:
        counts = convert_dataset(dataset, out, names, polygons, progress.add)
    typer.echo(f"{counts['images']} images, {counts['annotations']} annotations in {out}")
    for note in conversion_notes(dataset, names, polygons):
        typer.echo(f"note: {note}")


@app.command()
def validate(
    dataset: Annotated[Path, typer.Argument(help="A dataset's folder, or a COCO or LVIS JSON file.")],
    images: Annotated[Path | None, typer.Option(help="Where the JSON file's images are.")] = None,
) -> None:
    """Check every image and annotation; exit code 1 if anything is wrong."""
    from xpaste_ray.formats.validate import validate as check
    from xpaste_ray.report import print_findings

    report = check(dataset, images)
    print_findings(report, dataset)
    if report.errors:
        raise typer.Exit(1)
