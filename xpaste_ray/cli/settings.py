"""`xpaste config`: presets and settings."""

import typer

from xpaste_ray.cli.app import PresetOption, SetOption, config_app


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
