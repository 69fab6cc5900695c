"""`xpaste search`: images of the web by category name."""

from typing import Annotated, Literal, get_args

import typer

from xpaste_ray.cli.app import app


@app.command()
def search(
    engine: Annotated[Literal["openverse", "wikimedia"], typer.Option(help="Where to search.")],
    categories: Annotated[
        str, typer.Option(metavar="FILE", help="Names, one a line, or a vocabulary as .json or .yaml.")
    ],
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Images of each category.")],
    out: Annotated[
        str,
        typer.Option(
            metavar="FILE.parquet",
            help="What was found; the same command continues it, and one with more categories or a higher "
            "--count adds to it.",
        ),
    ],
    licence: Annotated[
        list[str] | None,
        typer.Option(
            help="Only images with this licence, by its Creative Commons code: cc0, pdm (public domain), by, "
            "by-sa, ...; repeatable. All if not given."
        ),
    ] = None,
    contact: Annotated[
        str | None, typer.Option(help="An e-mail address or page by which the engine's owners reach you.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="URL", help="The engine's API, if not its public one.")
    ] = None,
) -> None:
    """Find images on the web: a list of URLs with licences, for `sources.NAME={kind: web, list: FILE}`."""
    from xpaste_ray.categories import load_vocabulary
    from xpaste_ray.config import Licence
    from xpaste_ray.errors import ConfigError
    from xpaste_ray.fingerprints import fingerprint
    from xpaste_ray.report import CountingProgress
    from xpaste_ray.sources.engines import open_engine
    from xpaste_ray.sources.search import Searches
    from xpaste_ray.storage import locate

    if not out.endswith(".parquet"):
        raise ConfigError(f"--out {out}: give a file that ends in .parquet")
    licences = tuple(sorted(licence or ()))
    if unknown := set(licences) - set(get_args(Licence)):
        raise ConfigError(f"--licence {unknown.pop()}: give one of {', '.join(get_args(Licence))}")
    if contact and not (contact.isascii() and contact.isprintable()):
        raise ConfigError("--contact must be plain text on one line: give an e-mail address or a page")
    wanted = dict.fromkeys(load_vocabulary(categories), count)
    place = locate(out)
    searches = Searches(
        place, fingerprint({"engine": engine, "address": address, "licences": list(licences)})
    )
    with CountingProgress("search", len(wanted), "categories") as progress:
        found = open_engine(engine, address, licences, contact)
        searches.search(found, wanted, lambda done: progress.set(done, len(wanted)))
    several = [searches.found(category) for category in wanted]
    typer.echo(f"{sum(map(len, several))} images of {len(wanted)} categories in {out}")
    if empty := [category.name for category, one in zip(wanted, several, strict=True) if not one]:
        typer.echo(f"nothing found for {len(empty)}: {', '.join(empty)}")
