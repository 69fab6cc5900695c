"""The command line: its groups of commands, and options that several commands share.

Commands parse, call and report; everything heavy is imported when needed.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

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
prompts_app = typer.Typer(help="What images are generated from.", no_args_is_help=True)
models_app = typer.Typer(help="Models that presets name.", no_args_is_help=True)
app.add_typer(pool_app, name="pool")
app.add_typer(prompts_app, name="prompts")
app.add_typer(models_app, name="models")
app.add_typer(backgrounds_app, name="backgrounds")
app.add_typer(sizes_app, name="sizes")
app.add_typer(config_app, name="config")


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


ResourcesOption = Annotated[
    Literal["preset", "auto"],
    typer.Option(help="auto: actors and shares of GPUs for all stages as the cluster allows."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
RetryFailedOption = Annotated[
    bool, typer.Option("--retry-failed", help="Run units again that lost images to a passing failure.")
]
RunOption = Annotated[
    str, typer.Option(help="The run: a folder, s3://... or gs://...; the same command continues it.")
]

ImagesOption = Annotated[str | None, typer.Option(help="Where the backgrounds' JSON file has its images.")]
ColumnOption = Annotated[
    str | None, typer.Option(help="The Parquet column with the images, if it is not `image`.")
]
