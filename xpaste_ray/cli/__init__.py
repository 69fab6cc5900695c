"""The `xpaste` command."""

import sys

import typer

from xpaste_ray.cli import (  # noqa: F401 - they register their commands
    contexts,
    dataset,
    demo,
    evaluate,
    foregrounds,
    inputs,
    longtail,
    models,
    pool,
    pool_files,
    prompts,
    report,
    search,
    selection,
    serve,
    settings,
    study,
    train,
)
from xpaste_ray.cli.app import app
from xpaste_ray.errors import ConfigError, RunError

_INTERRUPTED = 130  # Ctrl-C, as typer and shells have it


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
