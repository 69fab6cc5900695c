"""`xpaste backgrounds | sizes`: what a dataset is composed from."""

from pathlib import Path
from typing import Annotated

import typer

from xpaste_ray.cli.app import ColumnOption, ImagesOption, backgrounds_app, sizes_app
from xpaste_ray.errors import ConfigError


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
    from xpaste_ray.outcomes import reasons
    from xpaste_ray.runs import read_json

    if not annotations.is_file():
        raise ConfigError(f"{annotations} is not a file: give a COCO or LVIS annotation file")
    table, left_out = fit_size_table(read_json(annotations))
    write_size_table(out, table)
    if left_out:
        typer.echo(f"annotations left out: {reasons(left_out)}")
    typer.echo(f"{len(table) - 1} categories in {out}: compose with --set compose.size.table={out}")
