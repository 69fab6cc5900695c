"""`xpaste serve`: composed batches over HTTP, from this machine."""

from typing import Annotated

import typer

from xpaste_ray.cli.app import CacheOption, ColumnOption, ImagesOption, app
from xpaste_ray.cli.dataset import BackgroundsOption, ContextsOption, PoolOption


@app.command()
def serve(
    pool: PoolOption,
    backgrounds: BackgroundsOption = "embedded:photos",
    images: ImagesOption = None,
    column: ColumnOption = None,
    contexts: ContextsOption = None,
    presets: Annotated[
        list[str] | None,
        typer.Option(
            "--preset",
            metavar="NAME|FILE.yaml",
            help="Presets that requests may name, repeatable; the first is the default, `xpaste` if none.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Whom to listen to; 0.0.0.0 is everybody.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    replicas: Annotated[int, typer.Option(min=1, help="Processes that compose, a core each.")] = 1,
    haproxy: Annotated[
        bool, typer.Option("--haproxy", help="Ray's HAProxy in front: faster answers.")
    ] = False,
    token_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Its lines are the tokens of those who may ask; read again on change."
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Without a token, also where others can come.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=value", help="Change a setting of the service; repeatable."),
    ] = None,
    cache_dir: CacheOption = None,
) -> None:
    """Answer requests for composed batches over HTTP, until Ctrl-C. On a cluster: serve_configs/."""
    from xpaste_ray.config import change
    from xpaste_ray.config.serve import ServeSettings
    from xpaste_ray.serve.local import Address, check_exposure, serve_here, with_absolute_paths
    from xpaste_ray.serve.served import Served
    from xpaste_ray.serve.tokens import Tokens

    given = {
        "pool": pool, "backgrounds": backgrounds, "background_images": images, "background_column": column,
        "contexts": contexts, "presets": presets or ["xpaste"], "token_file": token_file,
        "insecure": insecure,
    }  # fmt: skip
    settings = with_absolute_paths(change(ServeSettings(pool=pool), overrides or (), given))
    address = Address(host, port)
    settings = check_exposure(address, settings)
    Tokens(settings)
    Served(settings)  # what is missing is told here, in its own words
    typer.echo("starting Ray Serve ...")

    def ready() -> None:
        bearer = "" if settings.insecure else "-H 'Authorization: Bearer TOKEN' "
        typer.echo(
            f"serving {pool} on {address.url}, which is a page to look at; {address.url}/docs has the API\n\n"
            f"  curl -o batch.zip {bearer}-H 'Content-Type: application/json' "
            f'-d \'{{"count": 4, "seed": 7}}\' {address.url}/v1/compose\n\nCtrl-C ends it.'
        )

    serve_here(settings, address, replicas, haproxy, ready)
