"""`xpaste evaluate`: a detector, or what any tool predicted, and annotated images in; figures out.

run.json           what was evaluated, and the counts
predictions/       a detector's predictions, see `detect`
predictions.json   all of them, in COCO's results format; not there if they were given
evaluation.json    average precision, see `evaluation.Evaluation`; written last
per_category.csv   the same by category
sheet.jpg          the images that are predicted best and worst
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.config import StageResources
from xpaste_ray.errors import ConfigError
from xpaste_ray.evaluation import (
    Evaluation,
    Prediction,
    Truth,
    evaluate,
    read_predictions,
    sorted_predictions,
    truth_of,
    write_predictions,
)
from xpaste_ray.evaluation.sheet import draw_sheet
from xpaste_ray.evaluation.tables import per_category_csv
from xpaste_ray.evaluation.vocabulary import some_names
from xpaste_ray.fingerprints import hash_file, hash_stream
from xpaste_ray.models.detector_files import detector_folder, saved_folder
from xpaste_ray.models.folders import model_name
from xpaste_ray.pipelines.detect import Detecting, LoadDetector, detect, load_detector
from xpaste_ray.pipelines.job import Progress, Summary, finish
from xpaste_ray.pipelines.resources import detect_resources
from xpaste_ray.pipelines.steps import Step, chain
from xpaste_ray.runs import RunDir, check_steps, open_run, read_json, remove_asides, write_json, write_whole
from xpaste_ray.storage import Location, locate

_ALGORITHM = 1  # raised when the code changes what it makes of the same predictions, or of the same weights
_JPEG_QUALITY = 90
WEIGHTS_OPTION = "--weights"


class EvaluationRun:
    """The places of an evaluation."""

    def __init__(self, root: str | Path | Location) -> None:
        self.run = RunDir(root)
        self.root = self.run.root
        self.predictions_json = self.root / "predictions.json"
        self.evaluation_json = self.root / "evaluation.json"
        self.per_category_csv = self.root / "per_category.csv"
        self.sheet = self.root / "sheet.jpg"

    def evaluation(self) -> Evaluation:
        """ConfigError if it is not there, or damaged."""
        try:
            return Evaluation.from_json(read_json(self.evaluation_json))
        except (KeyError, TypeError, FileNotFoundError):
            raise ConfigError(
                f"{self.evaluation_json} is no evaluation: remove it and run the command again"
            ) from None


def evaluate_detector(
    weights: str,
    backgrounds: Backgrounds,
    out: str | Path,
    actors: StageResources | Literal["auto"],
    progress: Progress,
    load: LoadDetector = load_detector,
) -> Summary:
    """Find the objects of all images and compare them with the annotations, or finish that. The same weights
    and images give the same figures, however often it was interrupted.

    weights: a folder, here or in an object store. load: what opens it, in each actor. ConfigError before
    anything starts if something cannot work; RunError if it cannot go on.
    """
    if load is load_detector:
        detector_folder(weights, WEIGHTS_OPTION)  # it is refused before Ray starts
    name = model_name(weights, saved_folder(weights, WEIGHTS_OPTION))
    if "://" not in weights:
        weights = str(Path(weights).absolute())  # actors may stand elsewhere
    steps = chain(
        {"detect": {**_recipe(backgrounds), "weights": name}, "evaluate": {"algorithm": _ALGORITHM}}
    )
    run = EvaluationRun(out)
    work = Detecting(weights, load, backgrounds, run.root, steps["detect"].fingerprint)
    return _finish(_Job(run, backgrounds, steps, progress, work, actors), {"weights": name}, progress)


def evaluate_predictions(file: str, backgrounds: Backgrounds, out: str | Path, progress: Progress) -> Summary:
    """Compare predictions in COCO's results format with the annotations. ConfigError if they do not fit."""
    try:
        with locate(file).open() as data:
            contents = hash_stream(data)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"--predictions {file} is not there: give a file of COCO results") from None
    steps = chain({"evaluate": {**_recipe(backgrounds), "predictions": contents}})
    job = _Job(EvaluationRun(out), backgrounds, steps, progress, file)
    return _finish(job, {"predictions": file}, progress)


def _recipe(backgrounds: Backgrounds) -> dict[str, Any]:
    file = backgrounds.source.annotation_file()
    annotations = None if file is None else hash_file(file)
    return {"algorithm": _ALGORITHM, "val": {"images": backgrounds.fingerprint, "annotations": annotations}}


def _finish(job: "_Job", settings: Mapping[str, Any], progress: Progress) -> Summary:
    began = time.perf_counter()
    with open_run(job.run.root, progress.say) as held:
        check_steps(held, {name: step.settings for name, step in job.steps.items()})
        _refuse_strange(held)
        return finish(held, job, settings, progress, began)


def _refuse_strange(run: RunDir) -> None:
    """ConfigError for a folder that holds something else: files there could be replaced."""
    if not run.root.is_local or run.run_json.exists():
        return
    strange = sorted(path.name for path in run.root.path.iterdir() if not path.name.startswith("."))
    if strange:
        raise ConfigError(
            f"--out {run.root} holds other files ({', '.join(strange[:3])}): choose a new folder"
        )


@dataclass(slots=True)
class _Job:
    """The work on one run, from what its folder already has. predicts: what gives the predictions: a
    detector, or a file."""

    run: EvaluationRun
    backgrounds: Backgrounds
    steps: dict[str, Step]
    progress: Progress
    predicts: Detecting | str
    actors: StageResources | Literal["auto"] = "auto"
    summary: Summary = field(default_factory=Summary)

    def is_done(self) -> bool:
        """Whether all files are there. Those of another recipe were refused before."""
        run = self.run
        made = [run.evaluation_json, run.per_category_csv, run.sheet]
        if isinstance(self.predicts, Detecting):
            made.append(run.predictions_json)
        return (
            all(file.exists() for file in made)
            and run.run.run_json.exists()
            and "counts" in read_json(run.run.run_json)
        )

    def make(self) -> None:
        """What is missing of the predictions, then everything that follows from them."""
        truth = truth_of(self.backgrounds)
        for note in _notes(self.backgrounds):
            self.progress.say(note)
        predictions = self._predictions(truth)
        began = time.perf_counter()
        self.progress.say(f"comparing {len(predictions):,} predictions in {len(truth.images):,} images")
        found = evaluate(truth, predictions)
        write_whole(self.run.per_category_csv, per_category_csv(found))
        write_whole(self.run.sheet, self._sheet(truth, predictions))
        write_json(self.run.evaluation_json, found.to_json())
        self.summary.note("evaluate", len(truth.images), time.perf_counter() - began)
        self.summary.counts = {
            "images": {"usable": len(truth.images), "rejected": dict(self.backgrounds.rejected)},
            "objects": sum(one.instances for one in found.categories),
            "predictions": len(predictions),
            "federated": truth.is_lvis,
        }

    def _predictions(self, truth: Truth) -> Sequence[Prediction]:
        if isinstance(self.predicts, str):
            return read_predictions(self.predicts, truth)
        self._detect(self.predicts)
        found = sorted_predictions(self.predicts.predictions())
        write_predictions(self.run.predictions_json, found)
        return found

    def _detect(self, work: Detecting) -> None:
        if self.run.root.is_local:
            remove_asides((self.run.root / "predictions").path)
        if work.missing():
            from xpaste_ray.pipelines import ray_profile
            from xpaste_ray.pipelines.nodes import check_shared
            from xpaste_ray.pipelines.watch import Watch

            ray_profile.start_ray(_cpus(self.actors))
            ray_profile.configure_data(Watch(self.progress).tell)
            check_shared(self.run.root, "--out")
            actors = detect_resources(self.actors, ray_profile.cluster_nodes())
            detect(work, actors, self.progress, self.summary)
        unshared = work.unshared()
        if unshared.missing:
            self.progress.say(
                f"note: the detector does not know {some_names(unshared.missing)}: their AP is 0 where --val "
                "shows them"
            )
        if unshared.extra:
            self.progress.say(
                f"note: --val does not have {some_names(unshared.extra)}: what the detector takes for that "
                "is left out"
            )

    def _sheet(self, truth: Truth, predictions: Sequence[Prediction]) -> bytes:
        sheet = draw_sheet(truth, predictions, self.backgrounds.load, self.backgrounds.ids)
        ok, data = cv2.imencode(
            ".jpg", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        if not ok:
            raise ValueError("OpenCV could not encode the sheet")
        return bytes(data)


def _notes(backgrounds: Backgrounds) -> list[str]:
    """What of the dataset is not evaluated, for people: figures are others then than elsewhere."""
    notes = []
    for what, rejected in (
        ("images", backgrounds.rejected),
        ("annotations", backgrounds.rejected_annotations),
    ):
        if rejected:
            reasons = ", ".join(f"{reason} {count}" for reason, count in rejected.items())
            notes.append(f"note: not evaluated, for they cannot be used: {what}: {reasons}")
    return notes


def _cpus(actors: StageResources | Literal["auto"]) -> float:
    """That a Ray which is started here must have: all cores where nothing is said."""
    cores = float(len(os.sched_getaffinity(0)))
    return cores if actors == "auto" else max(cores, actors.actors * actors.cpus)
