"""`xpaste train`: a detector, to see what the data is worth."""

from typing import Annotated

import typer

from xpaste_ray.cli.app import CacheOption, DryRunOption, PresetOption, SetOption, app
from xpaste_ray.errors import ConfigError


@app.command()
def train(
    train: Annotated[
        str,
        typer.Option(help="Labelled images: a COCO or LVIS JSON file, or the folder of a composed dataset."),
    ],
    out: Annotated[str, typer.Option(help="The run's folder; the same command continues it.")],
    val: Annotated[
        str | None, typer.Option(help="A dataset as --train, which is looked at while it trains.")
    ] = None,
    paste: Annotated[
        str | None,
        typer.Option(help="A run with a sealed pool, or a pool's folder, whose instances are pasted."),
    ] = None,
    contexts: Annotated[
        str | None,
        typer.Option(
            help="Other images to paste on, without labels: a run of `xpaste contexts`, or a folder."
        ),
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATASET:SHARE",
            help="A dataset that stands beside --train, and its share of all images, such as "
            "data/pasted:0.5; repeatable.",
        ),
    ] = None,
    preset: PresetOption = "xpaste",
    overrides: SetOption = None,
    train_images: Annotated[str | None, typer.Option(help="Where --train has its images.")] = None,
    val_images: Annotated[str | None, typer.Option(help="Where --val has its images.")] = None,
    dry_run: DryRunOption = False,
    cache_dir: CacheOption = None,
) -> None:
    """Train Mask R-CNN on a dataset, as it is, with a pool pasted on it, or with other datasets beside it."""
    from xpaste_ray.config import TrainSettings, load
    from xpaste_ray.pipelines.places import check_absolute
    from xpaste_ray.pipelines.train_detector import TrainingData, resolve_training, train_run
    from xpaste_ray.report import ConsoleProgress
    from xpaste_ray.report_train import print_training, print_training_plan

    given = {
        "compose.backgrounds": train,
        "compose.background_images": train_images,
        "compose.contexts": contexts,
    }
    shares = tuple(map(_share, mix or ()))
    places = {"--train": train, "--out": out, "--val": val, "--paste": paste, "--contexts": contexts}
    for option, place in [*places.items(), *(("--mix", name) for name, _ in shares)]:
        if place is not None:
            check_absolute(option, place)
    settings = load(TrainSettings, preset, overrides or (), {k: v for k, v in given.items() if v is not None})
    inputs = resolve_training(settings, TrainingData(paste, shares, val, val_images))
    if dry_run:
        print_training_plan(inputs)
        return
    with ConsoleProgress() as progress:
        summary = train_run(inputs, out, progress)
    print_training(summary, out)


def _share(text: str) -> tuple[str, float]:
    name, _, share = text.rpartition(":")
    try:
        return name, float(share)
    except ValueError:
        raise ConfigError(f"--mix {text}: write it as DATASET:SHARE, such as data/pasted:0.5") from None
