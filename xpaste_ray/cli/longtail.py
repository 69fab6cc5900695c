"""`xpaste longtail`: a part of a dataset whose classes have a long tail."""

from typing import Annotated

import typer

from xpaste_ray.cli.app import app
from xpaste_ray.errors import ConfigError


@app.command()
def longtail(
    annotations: Annotated[str, typer.Argument(help="A COCO or LVIS annotation file.")],
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE.json",
            help="The part to write, and a plot beside it (.png). Images stay where they are. A file with "
            "other contents is kept.",
        ),
    ],
    shape: Annotated[float, typer.Option(help="Of the Pareto density; the higher, the steeper.")] = 6.0,
    most: Annotated[int, typer.Option("--max", help="Masks of the first class.")] = 800,
    least: Annotated[int, typer.Option("--min", help="Masks of the last class.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other images.")] = 0,
) -> None:
    """Draw images so that the classes' numbers of masks fall off as a Pareto density (EM-Paste).

    Classes are ordered by their masks. An image comes with all of its annotations, so a class can get more
    than it should.
    """
    from xpaste_ray.formats.subset import SplittableFile
    from xpaste_ray.longtail import draw_long_tail
    from xpaste_ray.outcomes import reasons
    from xpaste_ray.report_longtail import long_tail_png, print_long_tail
    from xpaste_ray.runs import write_whole
    from xpaste_ray.storage import locate

    place = locate(out)
    if not place.name.endswith(".json"):
        raise ConfigError(f"--out {out}: give a file that ends in .json")
    file = locate(annotations)
    if not file.is_file():
        raise ConfigError(f"{annotations} is not a file: give a COCO or LVIS annotation file")
    whole = SplittableFile(file)
    tail = draw_long_tail(whole.counts, whole.image_ids, shape, most, least, seed)
    data = b"".join(whole.part(tail.images))
    if place.is_file() and place.read_bytes() != data:
        raise ConfigError(f"--out {out} is there and holds something else: give another --out, or delete it")
    plot = place.parent / f"{place.name.removesuffix('.json')}.png"
    write_whole(plot, long_tail_png(tail))
    write_whole(place, data)
    print_long_tail(tail, whole.names)
    if whole.left_out:
        typer.echo(f"annotations left out: {reasons(whole.left_out)}")
    if empty := len(whole.names) - len(tail.classes):
        typer.echo(f"classes without a mask: {empty}")
    typer.echo(f"{place}\n{plot}")
