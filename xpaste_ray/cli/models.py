"""`xpaste models`: what a preset needs, brought to this machine."""

import typer

from xpaste_ray.cli.app import PresetOption, SetOption, models_app


@models_app.command("fetch")
def models_fetch(preset: PresetOption = "xpaste", overrides: SetOption = None) -> None:
    """Download the models that a preset names, pinned commits, safetensors only; a run never downloads.

    They go to the Hub's cache: set HF_HOME to put them elsewhere, such as on a disk that all nodes share.
    """
    from xpaste_ray.config import kind_of, load
    from xpaste_ray.models.hub import fetch_hub, parse_hub
    from xpaste_ray.pipelines.places import hub_models

    wanted = {model: option for option, model in hub_models(load(kind_of(preset), preset, overrides or ()))}
    for model, option in wanted.items():
        typer.echo(f"{option}: {fetch_hub(parse_hub(model, option), option)}")
    if not wanted:
        typer.echo(f"{preset} names no model of the Hub: there is nothing to fetch")
