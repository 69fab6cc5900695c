"""`xpaste demo`."""

from pathlib import Path
from typing import Annotated

import typer

from xpaste_ray.cli.app import PresetOption, SetOption, app


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
    from xpaste_ray.pipelines.places import check_absolute
    from xpaste_ray.report import ConsoleProgress, print_summary

    check_absolute("--out", str(out))
    settings = load_settings(preset, overrides or ())
    with ConsoleProgress() as progress:
        summary = run_demo(settings, out, progress)
    print_summary(summary, out)
