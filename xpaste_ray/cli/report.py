"""`xpaste report`."""

from typing import Annotated

import typer

from xpaste_ray.cli.app import CacheOption, app


@app.command()
def report(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|DATASET", help="What a command made: a folder; of runs and pools, s3:// too."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            help="The HTML file; its JSON lies beside it. report.html in that folder, if not given."
        ),
    ] = None,
    cache_dir: CacheOption = None,
) -> None:
    """Write one HTML file that tells what was asked, made and rejected, with samples; and its JSON."""
    from xpaste_ray.html_report.write import write_report

    typer.echo(f"report: {write_report(run, out)}")
