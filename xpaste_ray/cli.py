"""The command line. Commands parse, call and report; everything heavy is imported when needed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Labelled images for instance segmentation, made by pasting cut-out instances on backgrounds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Look at presets and settings.", no_args_is_help=True)
app.add_typer(config_app, name="config")

_INTERRUPTED = 130  # Ctrl-C, as typer and shells have it

PresetOption = Annotated[str, typer.Option(help="Name of a settings file that the package ships.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=value", help="Change one setting of the preset; repeatable."),
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
    from xpaste_ray.report import ConsoleProgress, print_summary

    settings = load_settings(preset, overrides or ())
    with ConsoleProgress() as progress:
        summary = run_demo(settings, out, progress)
    print_summary(summary, out)


@config_app.command("show")
def config_show(preset: PresetOption = "demo", overrides: SetOption = None) -> None:
    """Print what would run, as YAML."""
    from xpaste_ray.config import dump_settings, load_settings

    typer.echo(dump_settings(load_settings(preset, overrides or ())), nl=False)


@config_app.command("presets")
def config_presets() -> None:
    """List the presets."""
    from xpaste_ray.config import preset_names

    typer.echo("\n".join(preset_names()))


def main() -> None:
    """Entry point. Exit codes: 0 done, 2 wrong use, 130 interrupted; anything else is a defect."""
    from xpaste_ray.errors import ConfigError

    try:
        app()
    except ConfigError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            typer.echo("interrupted: run the same command again to continue", err=True)
        raise
