"""The command line. Commands parse, call and report; everything heavy is imported when needed."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xpaste_ray.errors import ConfigError, RunError

if TYPE_CHECKING:
    from xpaste_ray.config import DatasetSettings

app = typer.Typer(
    help="Labelled images for instance segmentation, made by pasting cut-out instances on backgrounds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Look at presets and settings.", no_args_is_help=True)
backgrounds_app = typer.Typer(help="Images to paste on.", no_args_is_help=True)
sizes_app = typer.Typer(help="How large instances of a category are.", no_args_is_help=True)
pool_app = typer.Typer(help="Pools of cut-out instances.", no_args_is_help=True)
app.add_typer(pool_app, name="pool")
app.add_typer(backgrounds_app, name="backgrounds")
app.add_typer(sizes_app, name="sizes")
app.add_typer(config_app, name="config")

_INTERRUPTED = 130  # Ctrl-C, as typer and shells have it


def _print_version(wanted: bool) -> None:
    if wanted:
        from xpaste_ray import __version__

        typer.echo(f"xpaste {__version__}")
        raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None: ...


PresetOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE.yaml",
        help="A preset that the package ships, see `config presets`, or a settings file of your own, as "
        "`config show` prints them; relative paths in it start at the working directory.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=value", help="Change one setting of the preset; repeatable."),
]


def _set_cache_dir(folder: str | None) -> None:
    if folder:
        from xpaste_ray.cache import CACHE_DIR_VARIABLE

        os.environ[CACHE_DIR_VARIABLE] = str(Path(folder).absolute())


CacheOption = Annotated[
    str | None,
    typer.Option(
        callback=_set_cache_dir,
        expose_value=False,
        metavar="DIR",
        help="Each node's folder for copies of remote pools, backgrounds, models; ~/.cache/xpaste_ray.",
    ),
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The run's folder; the same command continues it.")] = Path(
        "runs/demo"
    ),
    preset: PresetOption = "demo",
    overrides: SetOption = None,
) -> None:
    """Run the whole chain: category names to a labelled COCO dataset, with the embedded models."""
    from xpaste_ray.config import load_settings
    from xpaste_ray.pipelines.demo import run_demo
    from xpaste_ray.pipelines.places import check_absolute
    from xpaste_ray.report import ConsoleProgress, print_summary

    check_absolute("--out", str(out))
    settings = load_settings(preset, overrides or ())
    with ConsoleProgress() as progress:
        summary = run_demo(settings, out, progress)
    print_summary(summary, out)


@pool_app.command("build")
def pool_build(
    out: Annotated[
        str, typer.Option(help="The run: a folder, s3://... or gs://...; the same command continues it.")
    ],
    categories: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="LVIS category names, one a line; the preset's if not given."),
    ] = None,
    preset: PresetOption = "demo",
    resources: Annotated[
        Literal["preset", "auto"],
        typer.Option(help="auto: actors and shares of GPUs for all stages as the cluster allows."),
    ] = "preset",
    plan: Annotated[
        Literal["streaming", "sequential"],
        typer.Option(help="All stages at once, or one after the other for a GPU too small for all models."),
    ] = "streaming",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run units again that lost images to a passing failure.")
    ] = False,
    overrides: SetOption = None,
    cache_dir: CacheOption = None,
) -> None:
    """Generate, cut out, score and select instances; on this machine, or as a job on a Ray cluster."""
    from xpaste_ray.config import PoolSettings, load
    from xpaste_ray.pipelines.build import BuildOptions, build_pool, plan_pool
    from xpaste_ray.pipelines.places import check_absolute
    from xpaste_ray.prompts import read_names
    from xpaste_ray.report import ConsoleProgress, print_pool_summary

    check_absolute("--out", out)
    given: dict[str, object] = {}
    if categories:
        given["categories.names"] = read_names(categories)
    if resources == "auto":
        given |= {f"resources.{stage}": "auto" for stage in ("source", "segment", "score")}
    settings = load(PoolSettings, preset, overrides or (), given)
    for section, model in (("source", settings.source.model), ("score", settings.score.model)):
        if not model.startswith("embedded:"):
            check_absolute(f"{section}.model", model)
    options = BuildOptions(plan, retry_failed)
    with ConsoleProgress() as progress:
        if dry_run:
            plan_pool(settings, out, progress, options)
            return
        summary = build_pool(settings, out, progress, options)
    print_pool_summary(summary, out)


@pool_app.command("verify")
def pool_verify(
    run: Annotated[str, typer.Argument(help="The run: a folder, s3://... or gs://...")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove damaged files; the next build makes exactly them again.")
    ] = False,
) -> None:
    """Read everything that a build made and check it; exit code 1 if anything is wrong."""
    from xpaste_ray.pipelines.verify import repair as remove_damaged
    from xpaste_ray.pipelines.verify import verify_pool
    from xpaste_ray.report import ConsoleProgress
    from xpaste_ray.runs import RunDir, open_run

    place = RunDir(run)
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


PoolOption = Annotated[
    str, typer.Option(help="A run with a sealed pool, or a pool's folder; s3:// and gs:// are copied once.")
]
BackgroundsOption = Annotated[
    str,
    typer.Option(
        help="A folder of images, a COCO or LVIS JSON file, Parquet, or a colour (black, #808080:640x480)."
    ),
]
ImagesOption = Annotated[str | None, typer.Option(help="Where the backgrounds' JSON file has its images.")]
ColumnOption = Annotated[
    str | None, typer.Option(help="The Parquet column with the images, if it is not `image`.")
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
    **values: object,
) -> "DatasetSettings":
    """A preset with the options that have names of their own."""
    from xpaste_ray.config import DatasetSettings, load

    named = {
        "compose.backgrounds": backgrounds,
        "compose.background_images": images,
        "compose.background_column": column,
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

    for option, place in (("--out", str(out)), ("--pool", pool), ("--backgrounds", backgrounds)):
        if option != "--backgrounds" or Path(place).suffix or "/" in place:  # else a colour or embedded:
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
    settings = _dataset_settings(preset, overrides, backgrounds, images, column)
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


@backgrounds_app.command("index")
def backgrounds_index(
    source: Annotated[str, typer.Argument(help="A folder, a COCO or LVIS JSON file, or Parquet.")],
    images: ImagesOption = None,
    column: ColumnOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Decode on so many cores; all if not given.")
    ] = None,
) -> None:
    """Decode every background once and keep what planning needs; done by itself when composing."""
    from xpaste_ray.backgrounds import resolve_source
    from xpaste_ray.pipelines.backgrounds import index_backgrounds
    from xpaste_ray.report import CountingProgress, print_backgrounds

    with CountingProgress("index", 0, "images") as progress:
        found = index_backgrounds(
            resolve_source(source, images, column), progress=progress.set, workers=workers
        )
    print_backgrounds(found)


@sizes_app.command("fit")
def sizes_fit(
    annotations: Annotated[Path, typer.Argument(help="A COCO or LVIS annotation file.")],
    out: Annotated[
        Path, typer.Option(help="JSON file to write; use it as size.table. One with other contents is kept.")
    ] = Path("sizes.json"),
) -> None:
    """Fit how large instances of each category are in your images."""
    from xpaste_ray.compose.size_fit import fit_size_table, write_size_table
    from xpaste_ray.report import reasons
    from xpaste_ray.runs import read_json

    if not annotations.is_file():
        raise ConfigError(f"{annotations} is not a file: give a COCO or LVIS annotation file")
    table, left_out = fit_size_table(read_json(annotations))
    write_size_table(out, table)
    if left_out:
        typer.echo(f"annotations left out: {reasons(left_out)}")
    typer.echo(f"{len(table) - 1} categories in {out}: compose with --set compose.size.table={out}")


@config_app.command("show")
def config_show(preset: PresetOption = "demo", overrides: SetOption = None) -> None:
    """Print what would run, as YAML that --preset takes as a file.

    Without --preset: `demo`, as `xpaste demo` runs. `compose` and `render` use `xpaste` unless told.
    """
    from xpaste_ray.config import dump_settings, kind_of, load

    typer.echo(dump_settings(load(kind_of(preset), preset, overrides or ())), nl=False)


@config_app.command("presets")
def config_presets() -> None:
    """List the presets, with what each is."""
    from xpaste_ray.config import preset_descriptions

    described = preset_descriptions()
    width = max(map(len, described))
    for name, line in described.items():
        typer.echo(f"{name:{width}}  {line}")


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 a run could not go on or a check found errors, 2 wrong use, 130
    interrupted; anything else is a defect."""
    try:
        app()
    except ConfigError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except RunError as error:
        typer.echo(f"error: {error}\nWhat is done is kept: the same command continues it.", err=True)
        sys.exit(1)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            typer.echo("interrupted: run the same command again to continue", err=True)
        raise
