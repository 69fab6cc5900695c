"""`xpaste evaluate`: how good a detector is."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xpaste_ray.cli.app import CacheOption, app
from xpaste_ray.errors import ConfigError

if TYPE_CHECKING:
    from xpaste_ray.backgrounds import Backgrounds
    from xpaste_ray.config import StageResources


@app.command()
def evaluate(
    val: Annotated[
        str, typer.Option(help="Annotated images: a COCO or LVIS JSON file, or a folder that has one.")
    ],
    out: Annotated[
        str,
        typer.Option(help="The evaluation's folder, s3://... or gs://...; the same command continues it."),
    ],
    weights: Annotated[
        str | None, typer.Option(metavar="DIR", help="A detector's folder, here, on s3:// or gs://.")
    ] = None,
    predictions: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Instead of --weights: what any tool predicted, as COCO results."),
    ] = None,
    val_images: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where --val has its images, if they are not found.")
    ] = None,
    actors: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes that detect; one on each GPU, or one on all cores, if not given."
        ),
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="Of each of --actors: 1, or a share of one such as 0.5.")
    ] = None,
    cache_dir: CacheOption = None,
) -> None:
    """Average precision of masks and boxes, by COCO's rules, or LVIS's where --val is LVIS's.

    Writes predictions.json (COCO results), evaluation.json, per_category.csv and sheet.jpg, the images that
    are predicted best and worst.
    """
    if (weights is None) == (predictions is None):
        raise ConfigError(
            "give either --weights, a detector's folder, or --predictions, a file of COCO results"
        )
    if predictions is not None and (actors is not None or gpus is not None):
        raise ConfigError("--actors and --gpus go with --weights: predictions that are given need none")
    if gpus is not None and actors is None:
        raise ConfigError("--gpus goes with --actors: it is the share of each of them")
    from xpaste_ray.pipelines.evaluate import EvaluationRun, evaluate_detector, evaluate_predictions
    from xpaste_ray.pipelines.places import check_absolute
    from xpaste_ray.report import ConsoleProgress
    from xpaste_ray.report_evaluation import print_evaluation

    given = {"--val": val, "--val-images": val_images, "--out": out, "--weights": weights,
             "--predictions": predictions}  # fmt: skip
    for option, place in given.items():
        if place is not None:
            check_absolute(option, place)
    with ConsoleProgress() as progress:
        backgrounds = _open_val(val, val_images)
        if predictions is not None:
            summary = evaluate_predictions(predictions, backgrounds, out, progress)
        else:
            assert weights is not None
            summary = evaluate_detector(weights, backgrounds, out, _wanted(actors, gpus), progress)
    print_evaluation(EvaluationRun(out).evaluation(), summary, out)


def _wanted(actors: int | None, gpus: float | None) -> "StageResources | Literal['auto']":
    """ConfigError for a share of a GPU that Ray cannot give."""
    from xpaste_ray.config import StageResources

    if actors is None:
        return "auto"
    try:
        return StageResources(actors=actors, gpus=gpus or 0.0)
    except ValueError:
        raise ConfigError(
            f"--gpus {gpus:g}: give eighths of a GPU (0.125, 0.25, 0.5, ...) or a whole number of them"
        ) from None


def _open_val(val: str, images: str | None) -> "Backgrounds":
    """Indexed, if it is not yet. ConfigError that names the option."""
    from xpaste_ray.backgrounds import resolve_source
    from xpaste_ray.pipelines.backgrounds import index_backgrounds

    try:
        source = resolve_source(val, images)
        if source.annotation_file() is None:
            raise ConfigError(f"{val} has no annotations: give a COCO or LVIS file, or a folder that has one")
        return index_backgrounds(source)
    except ConfigError as error:
        text = str(error).removeprefix("backgrounds: ").replace("--images", "--val-images")
        raise ConfigError(f"--val: {text}") from None
