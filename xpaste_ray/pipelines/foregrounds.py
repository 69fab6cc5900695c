"""`xpaste foregrounds`: images with labels in; masks of what the labels name out (EM-Paste, section 3.1).

units of (image, category) pairs -> read -> segment -> classifier -> unit files, then F-EM, seal, annotations.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.config import ForegroundSettings, ResNetClassifier, ResourceSettings
from xpaste_ray.errors import ConfigError, RowError, RunError
from xpaste_ray.foregrounds.annotations import KEPT_COLUMNS, annotations_recipe, write_annotations
from xpaste_ray.foregrounds.record import write_refinement
from xpaste_ray.models.classifier_files import classifier_name, feature_dim
from xpaste_ray.pipelines.job import Progress, Summary, finish, start_ray
from xpaste_ray.pipelines.pools import explained, is_current, pool_folder, seal_selected
from xpaste_ray.pipelines.refine import choose_foregrounds
from xpaste_ray.pipelines.resources import (
    MODEL_STAGES,
    Node,
    Plan,
    fetch_resources,
    foreground_costs,
    plan_resources,
    train_resources,
)
from xpaste_ray.pipelines.scores import compact_scores, read_scores, scores_recipe
from xpaste_ray.pipelines.stage_code import Code, StageCode
from xpaste_ray.pipelines.steps import Step, chain, segment_models, segment_recipe
from xpaste_ray.pipelines.train_classifier import train_classifier
from xpaste_ray.pipelines.unit_work import Pass, UnitWork
from xpaste_ray.pool import open_pool
from xpaste_ray.records import Unit, instance_ids
from xpaste_ray.runs import RunDir, check_steps, made_by, open_run, read_json
from xpaste_ray.selection import Selection
from xpaste_ray.sources.labelled import LabelledImages, labelled_units, open_labelled

# Raised when the code of a step changes what it writes for the same settings.
_ALGORITHMS = {"score": 1, "select": 1}


@dataclass(frozen=True, slots=True)
class ForegroundInputs:
    """Everything that foregrounds are made from, opened and checked. networks: names and contents of those of
    the methods that have one. classifier: what it is, or is trained from, likewise. feature_dim: numbers in
    a segment's feature."""

    settings: ForegroundSettings
    images: LabelledImages
    networks: Mapping[str, str]
    classifier: str | None
    feature_dim: int


def make_foregrounds(
    settings: ForegroundSettings, out: str | Path, progress: Progress, retry_failed: bool = False
) -> Summary:
    """Make, or finish, the run in `out`: a sealed pool, and `annotations.json`. The same settings give the
    same bytes, however often it was interrupted. With other `em` or `cutout` settings no model runs again.

    ConfigError before anything starts if something cannot work; RunError if the run cannot go on.
    """
    began = time.perf_counter()
    with open_run(out, progress.say) as run:
        job = _open_job(settings, run, progress, retry_failed)
        return finish(run, job, settings.model_dump(mode="json"), progress, began)


def plan_foregrounds(settings: ForegroundSettings, out: str | Path, progress: Progress) -> None:
    """Tell what `make_foregrounds` would do, and write nothing. ConfigError as there."""
    _open_job(settings, RunDir(out), progress).unit_work().show_plan()


def _open_job(
    settings: ForegroundSettings, run: RunDir, progress: Progress, retry_failed: bool = False
) -> "ForegroundJob":
    _check_place(run, settings)
    inputs = resolve_foregrounds(settings)
    for note in inputs.images.notes:
        progress.say(note)
    steps = foreground_steps(inputs)
    check_steps(run, {name: steps[name].settings for name in _made_steps(run)})
    return ForegroundJob(run, inputs, steps, progress, Summary(), retry_failed)


def _check_place(run: RunDir, settings: ForegroundSettings) -> None:
    """ConfigError if a classifier is to be trained in an object store."""
    if isinstance(settings.foregrounds.classifier, ResNetClassifier) and not run.root.is_local:
        raise ConfigError(
            f"--out {run.root}: a classifier is trained in a local or shared folder: give one, or take a "
            "classifier that is trained already (foregrounds.classifier: {kind: trained, model: ...})"
        )


def resolve_foregrounds(settings: ForegroundSettings) -> ForegroundInputs:
    """Find and check the images and the models. Raises ConfigError."""
    told = settings.foregrounds
    images = open_labelled(told.images, "foregrounds.images")
    return ForegroundInputs(
        settings,
        images,
        segment_models(told.segment, "foregrounds.segment"),
        classifier_name(told.classifier),
        feature_dim(told.classifier),
    )


def foreground_steps(inputs: ForegroundInputs) -> dict[str, Step]:
    """The steps of a run, in order, see `steps.plan_steps`."""
    told, images = inputs.settings.foregrounds, inputs.images
    source = {
        "foregrounds": {
            "images": {**images.recipe, "contents": images.contents, "unit_size": told.images.unit_size}
        }
    }
    score = {
        "foregrounds": {
            "classifier": _classifier_recipe(inputs),
            "cam": told.cam.model_dump(mode="json"),
            "features": told.features.model_dump(mode="json"),
        }
    }
    select = {
        "foregrounds": {"em": told.em.model_dump(mode="json"), "cutout": told.cutout.model_dump(mode="json")}
    }
    return chain(
        {
            "source": source,
            "segment": {"foregrounds": segment_recipe(told.segment, inputs.networks)},
            "score": {"algorithm": _ALGORITHMS["score"], **score},
            "select": {"algorithm": _ALGORITHMS["select"], **select},
        }
    )


def _classifier_recipe(inputs: ForegroundInputs) -> dict[str, Any]:
    """What its training draws at random follows from the seed."""
    settings = inputs.settings.foregrounds.classifier
    if isinstance(settings, ResNetClassifier):
        named = {"weights": inputs.classifier, "seed": inputs.settings.seed}
    else:
        named = {"model": inputs.classifier}
    return {**settings.model_dump(mode="json"), **named}


def _made_steps(run: RunDir) -> tuple[str, ...]:
    """Steps whose results a change of settings would mix up. Another choice is sealed beside the first."""
    return ("source", "segment", "score") if run.candidates.exists() else ()


@dataclass(frozen=True, slots=True)
class LabelledWork:
    """Pairs of an image and a category through segmenters and the classifier, see `unit_work.Work`.
    trained: the folder of a classifier that was trained for this."""

    inputs: ForegroundInputs
    steps: Mapping[str, Step]
    trained: Path | None

    stages = MODEL_STAGES
    passes = (Pass(MODEL_STAGES),)
    reads = True

    @property
    def recipe(self) -> str:
        return self.steps["source"].fingerprint

    @property
    def resources(self) -> ResourceSettings:
        return self.inputs.settings.resources

    @property
    def embedding_dim(self) -> int:
        return self.inputs.feature_dim

    def units(self) -> Iterator[Unit]:
        return labelled_units(self.inputs.images, self.inputs.settings.foregrounds.images.unit_size)

    def fingerprint(self, stage: str) -> str:
        return self.steps[stage].fingerprint

    def plan(self, one: Pass, nodes: Sequence[Node]) -> Plan:
        resources = self.resources.model_copy(update={"source": fetch_resources(self.resources)})
        costs = foreground_costs(self.inputs.settings.foregrounds)
        return plan_resources(resources, {stage: costs[stage] for stage in one.stages}, nodes)

    def code(self, one: Pass, plan: Plan) -> Code:
        told, images = self.inputs.settings.foregrounds, self.inputs.images
        score = {
            "settings": told.classifier,
            "categories": images.categories,
            "cam": told.cam,
            "features": told.features,
            "device": plan["score"].device,
            "trained": self.trained,
        }
        return {
            "source": StageCode(
                "xpaste_ray.stages.read:ReadStage", {"settings": told.images, "place": images.root}
            ),
            "segment": StageCode(
                "xpaste_ray.stages.segment:SegmentStage",
                {"settings": told.segment, "device": plan["segment"].device},
            ),
            "score": StageCode("xpaste_ray.stages.classify:ClassifyStage", score),
        }

    def threads(self, one: Pass, stage: str) -> int:
        told = self.inputs.settings.foregrounds
        methods = told.segment.methods.values()
        return {
            "source": 1,
            "segment": max(getattr(method, "threads", 1) for method in methods),
            "score": told.classifier.threads,
        }[stage]


@dataclass(slots=True)
class ForegroundJob:
    """The work on one run, from what its folder already has."""

    run: RunDir
    inputs: ForegroundInputs
    steps: Mapping[str, Step]
    progress: Progress
    summary: Summary
    retry_failed: bool = False

    def is_done(self) -> bool:
        """Whether all files are there, with their ends, and this choice is the current one."""
        run, selected = self.run, self.steps["select"].fingerprint
        if self.retry_failed or not (run.run_json.exists() and run.pool_json.exists()):
            return False
        if made_by(run.scores) != self._scores_recipe() or made_by(run.rejects) != selected:
            return False
        pool = pool_folder(run, selected)
        return (
            "annotations" in read_json(run.run_json).get("counts", {})
            and is_current(run, pool)
            and annotations_recipe(run.annotations) == pool.name
            and self.unit_work().is_done()
        )

    def make(self) -> None:
        """Make what is missing. Counts and times go to the summary."""
        if not self.unit_work().is_done():
            self.unit_work(self._trained()).make()
        self._choose()

    def unit_work(self, trained: Path | None = None) -> UnitWork:
        work = LabelledWork(self.inputs, self.steps, trained)
        return UnitWork(self.run, work, self.progress, self.summary, self.retry_failed)

    def _scores_recipe(self) -> str:
        return scores_recipe(self.steps["source"].fingerprint, self.steps["score"].fingerprint)

    def _trained(self) -> Path | None:
        """The folder of the run's own classifier, trained if it must be; None if it takes another."""
        from xpaste_ray.pipelines.ray_profile import cluster_nodes

        settings, images = self.inputs.settings, self.inputs.images
        classifier, began = settings.foregrounds.classifier, time.perf_counter()
        if not isinstance(classifier, ResNetClassifier):
            return None
        self.progress.say("starting Ray")
        start_ray(settings.resources, self.progress, reads=True)
        resources = train_resources(settings.resources, cluster_nodes())
        made = train_classifier(
            self.run.root.path, classifier, images, images.categories, settings.seed, self.progress, resources
        )
        if not made.already_done:
            self.summary.note("train", len(images), time.perf_counter() - began)
        return made.folder

    def _choose(self) -> None:
        """F-EM, the pool of what it chooses, and the annotations of the images."""
        began = time.perf_counter()
        run, told, images = self.run, self.inputs.settings.foregrounds, self.inputs.images
        resources, step = self.inputs.settings.resources, self.steps["select"]
        with explained(run):
            if made_by(run.scores) != self._scores_recipe():
                self.progress.say("gathering scores")
                compact_scores(run, self._scores_recipe())
            folder = pool_folder(run, step.fingerprint)
            counts = seal_selected(
                run, self._selected, told.cutout, images.categories, step, resources, self.progress
            )
        made = counts["candidates"]["made"]
        self.summary.note("em+seal", made, time.perf_counter() - began)
        self.summary.counts |= {
            "images": {"usable": len(images), "rejected": dict(images.rejected)},
            **counts,
            "annotations": self._annotate(folder.name),
        }

    def _selected(self) -> Selection:
        """What F-EM chooses, its record kept in the folder of the pool that comes of it."""
        run, em = self.run, self.inputs.settings.foregrounds.em
        chosen = choose_foregrounds(
            run, em, self._scores_recipe(), self.inputs.settings.resources, self.progress
        )
        folder = pool_folder(run, self.steps["select"].fingerprint)
        write_refinement(folder, chosen, read_scores(run, ("method", "ordinal")), folder.name)
        return chosen.selection

    def _annotate(self, pool_name: str) -> dict[str, int]:
        """`annotations.json` of the instances in the current pool."""
        run, told = self.run, self.inputs.settings.foregrounds
        self.progress.say("writing annotations.json")
        chosen = chosen_rows(run)
        with tempfile.TemporaryDirectory(prefix="xpaste-") as folder:
            file = Path(folder) / "annotations.json"
            try:
                counts = write_annotations(
                    file,
                    chosen,
                    run.unit_file,
                    self.inputs.images,
                    self.inputs.images.categories,
                    told.cutout,
                    pool_name,
                )
            except RowError as error:
                raise RunError(
                    f"an image that was read before cannot be read any more ({error}): restore it, or begin "
                    "with another --out"
                ) from None
            run.annotations.upload(file)
        return counts


def chosen_rows(run: RunDir) -> pa.Table:
    """The rows of the score table that are instances of the run's current pool."""
    scores = read_scores(run, KEPT_COLUMNS)
    names = instance_ids(scores["candidate_id"], scores["method"], scores["ordinal"])
    return scores.filter(pc.is_in(names, pa.array(open_pool(run.root).instance_ids, pa.string())))
