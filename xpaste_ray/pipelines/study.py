"""`xpaste study`: arms times seeds, each a training of its own, and one table of them all.

arms/<arm>/seed-<n>/              a run of `xpaste train`
arms/<arm>/seed-<n>/evaluation/   `xpaste evaluate` of its detector, on data.test
study.json, study.md, plots/      what is found, so far; see `studies.StudyResults.to_json`
pools/, labelled/, contexts/      see `study_data`

Everything goes on from what is there: a step whose recipe is the same is not made again.
"""

import os
import threading
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from xpaste_ray.config import StageResources, StudySettings
from xpaste_ray.errors import ConfigError, LeaseLostError, RunError, StorageError
from xpaste_ray.models.detector_record import TRAINING_FILE, DetectorRecord
from xpaste_ray.pipelines.at_once import OneOfSeveral, each_done
from xpaste_ray.pipelines.evaluate import EvaluationRun, evaluate_detector
from xpaste_ray.pipelines.job import Progress
from xpaste_ray.pipelines.resources import SPARE_CPUS, cpus_booked
from xpaste_ray.pipelines.study_arms import (
    MadeData,
    arm_pools,
    arm_settings,
    check_given,
    check_study,
    open_test,
    training_data,
)
from xpaste_ray.pipelines.study_data import StudyData
from xpaste_ray.pipelines.train_detector import (
    STAGE,
    TrainingInputs,
    resolve_training,
    train_run,
    training_step,
)
from xpaste_ray.pipelines.training import cancel_trainings
from xpaste_ray.runs import RunDir, check_steps, open_run, read_json, remove_asides, write_json, write_whole
from xpaste_ray.storage import ASIDE_SUFFIX
from xpaste_ray.studies import StudyResults, TrainedOnce, results_of
from xpaste_ray.studies.plots import study_plots
from xpaste_ray.studies.results import KIND
from xpaste_ray.studies.tables import study_markdown

STUDY_JSON, STUDY_MD, PLOTS = "study.json", "study.md", "plots"

_JOIN_S = 1.0  # between two words to trainings that must end


@dataclass(frozen=True, slots=True)
class Training:
    """One seed of one arm."""

    arm: str
    seed: int

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}"

    @property
    def folder(self) -> str:
        return f"arms/{self.arm}/seed-{self.seed}"


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which trainings there are. recipes: the fingerprints of all. first: of each recipe, the one that is
    made."""

    recipes: Mapping[Training, str]
    first: Mapping[str, Training]

    @property
    def owners(self) -> tuple[Training, ...]:
        return tuple(self.first.values())

    def owner(self, one: Training) -> Training:
        """Whose run it is: itself, or an equal one of another arm."""
        return self.first[self.recipes[one]]

    @property
    def same(self) -> dict[str, str]:
        """Arms that are another one by another name, with that."""
        owned = {one.arm: self.owner(one).arm for one in self.recipes}
        return {arm: other for arm, other in owned.items() if arm != other}


def plan_of(recipes: Mapping[Training, str], begun: Container[Training]) -> _Plan:
    """Of equal trainings one is made: the first that is begun, or else the first."""
    first: dict[str, Training] = {}
    for one, recipe in recipes.items():
        known = first.setdefault(recipe, one)
        if one in begun and known not in begun:
            first[recipe] = one
    return _Plan(recipes, first)


@dataclass(frozen=True, slots=True)
class StudySummary:
    """results: of all arms. trained, reused: trainings that this call has done, and that were there. same:
    arms that are another one by another name, with that."""

    results: StudyResults
    trained: int
    reused: int
    same: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """A line of the plan. state: `there`, `begun`, `given` or `to make`; `done` of `wanted` trainings."""

    what: Literal["pool", "contexts", "arm"]
    name: str
    state: str


def plan_study(study: StudySettings, out: str) -> list[PlannedPart]:
    """What `run_study` would make, and what is there. It needs no model, and writes nothing in `out`.
    ConfigError for whatever is wrong with the study, its training images or its test."""
    check_study(study)
    root = _root(out)
    _check_ours(root, study)
    check_given(study)
    open_test(study)
    plan = [PlannedPart("pool", name, _pool_state(study, root, name)) for name in _needed_pools(study)]
    for name in _needed_contexts(study):
        given = study.contexts[name].path is not None
        begun = (root / "contexts" / name / "run.json").exists()
        plan.append(PlannedPart("contexts", name, "given" if given else "begun" if begun else "to make"))
    for name in study.all_arms:
        done = sum(_looks_done(root / Training(name, seed).folder) for seed in study.seeds)
        plan.append(PlannedPart("arm", name, f"{done} of {len(study.seeds)} trainings are there"))
    return plan


def run_study(study: StudySettings, out: str, progress: Progress, at_once: int | None = None) -> StudySummary:
    """Make what is missing, or finish it, and tell what comes of it. The same study gives the same files,
    however often it was interrupted.

    at_once: trainings; None for one on each GPU, or one on processors. ConfigError before anything starts if
    something cannot work, or if an arm was trained with other settings; RunError, when all others are done,
    if a training cannot go on.
    """
    check_study(study)
    root = _root(out)
    with open_run(out, progress.say) as run:
        _check_ours(root, study)
        _remove_leftovers(root)
        if not (run.root / STUDY_JSON).exists():
            _write(root, study, results_of(study.name, study.title, study.seeds, study.baseline, {}))
        return _StudyJob(study, root, progress).make(at_once)


def _remove_leftovers(root: Path) -> None:
    """What a killed study left half-written beside its runs, which look after themselves."""
    for path in root.glob(f".*{ASIDE_SUFFIX}"):
        path.unlink(missing_ok=True)
    for name in (PLOTS, "labelled"):
        remove_asides(root / name)


def _root(out: str) -> Path:
    run = RunDir(out)
    if not run.root.is_local:
        raise ConfigError(f"--out {out}: a study is made in a local or shared folder: give one")
    return run.root.path.absolute()


def _check_ours(root: Path, study: StudySettings) -> None:
    """ConfigError for a folder of another study, or of something else."""
    file = root / STUDY_JSON
    if file.exists():
        told = read_json(file)
        if told.get("kind") != KIND or told.get("name") != study.name:
            raise ConfigError(
                f"--out {root} is of another study ({told.get('name')!r}, not {study.name!r}): choose "
                "another folder"
            )
        return
    strange = sorted(path.name for path in root.glob("*") if not path.name.startswith("."))
    if strange:
        raise ConfigError(f"--out {root} holds other files ({', '.join(strange[:3])}): choose a new folder")


def _needed_pools(study: StudySettings) -> list[str]:
    named = [name for arm in study.all_arms.values() for name in arm_pools(study, arm)]
    return study.pools_needed(named)


def _needed_contexts(study: StudySettings) -> list[str]:
    return list(dict.fromkeys(arm.contexts for arm in study.all_arms.values() if arm.contexts is not None))


def _pool_state(study: StudySettings, root: Path, name: str) -> str:
    if study.pools[name].origin == "path":
        return "given"
    there = (root / "pools" / f"{name}.json").exists()
    begun = (root / "pools" / name / "run.json").exists()
    return "there" if there else "begun" if begun else "to make"


def _looks_done(folder: Path) -> bool:
    return _record(folder) is not None and (folder / "evaluation" / "evaluation.json").exists()


def _record(folder: Path) -> DetectorRecord | None:
    return DetectorRecord.read(folder / "detector" / TRAINING_FILE)


def _write(root: Path, study: StudySettings, results: StudyResults) -> None:
    write_json(root / STUDY_JSON, results.to_json(study.model_dump(mode="json", exclude_defaults=True)))
    write_whole(root / STUDY_MD, study_markdown(results).encode())


@dataclass(frozen=True, slots=True)
class _Room:
    """Trainings at a time, and what each of them has while it is evaluated, or trained."""

    slots: int
    device: StageResources


class _StudyJob:
    """The work on one study, from what its folder already has."""

    def __init__(self, study: StudySettings, root: Path, progress: Progress) -> None:
        self._study, self._root, self._progress = study, root, progress
        self._test, self._lock = open_test(study), threading.Lock()

    def make(self, at_once: int | None) -> StudySummary:
        self._start_ray()
        made = self._make_data()
        plan = self._plan(made)
        todo = [one for one in plan.owners if not self._is_done(one, plan)]
        reused = len(plan.owners) - len(todo)
        self._progress.say(f"{len(plan.owners)} trainings: {reused} are there, {len(todo)} to do")
        for one in plan.owners:
            if one not in todo:
                self._evaluate(one, "auto")  # or find that this is done
        failures = self._train(todo, plan, made, at_once) if todo else []
        results = self._results(plan)
        _write(self._root, self._study, results)
        for name, data in study_plots(results).items():
            write_whole(self._root / PLOTS / name, data)
        if failures:
            raise RunError("\n".join(failures))
        return StudySummary(results, len(todo), reused, plan.same)

    def _start_ray(self) -> None:
        """With room for all, unless everything looks done: whatever starts it first decides its size."""
        if all(_looks_done(self._root / one.folder) for one in _trainings(self._study)):
            return
        from xpaste_ray.pipelines import ray_profile

        cores = float(len(os.sched_getaffinity(0)))
        arms = self._study.all_arms.items()
        wanted = (arm_settings(self._study, name, arm, None).resources for name, arm in arms)
        self._progress.say("starting Ray")
        ray_profile.start_ray(max(cores, *(cpus_booked(one, reads=True) for one in wanted)))

    def _make_data(self) -> MadeData:
        data = StudyData(self._study, self._root, self._progress)
        pools = {name: data.pool(name) for name in _needed_pools(self._study)}
        return MadeData(pools, {name: data.contexts(name) for name in _needed_contexts(self._study)})

    def _inputs(self, one: Training, made: MadeData) -> TrainingInputs:
        arm = self._study.all_arms[one.arm]
        settings = arm_settings(self._study, one.arm, arm, made)
        settings = settings.model_copy(update={"seed": one.seed})
        try:
            return resolve_training(settings, training_data(self._study, arm, made))
        except ConfigError as error:
            raise ConfigError(f"arm {one.arm}: {error}") from None

    def _plan(self, made: MadeData) -> _Plan:
        """ConfigError if an arm was begun with other settings."""
        recipes: dict[Training, str] = {}
        for one in _trainings(self._study):
            step = training_step(self._inputs(one, made))
            try:
                check_steps(RunDir(self._root / one.folder), {STAGE: step.settings})
            except ConfigError as error:
                raise ConfigError(
                    f"arm {one.arm} was trained otherwise before:\n{error}\nOr call the changed arm by "
                    "another name: what is trained stays, and the table has only the arms of the study."
                ) from None
            recipes[one] = step.fingerprint
        begun = {one for one in recipes if (self._root / one.folder / "run.json").exists()}
        return plan_of(recipes, begun)

    def _is_done(self, one: Training, plan: _Plan) -> bool:
        folder = self._root / one.folder
        record = _record(folder)
        return _looks_done(folder) and record is not None and record.recipe == plan.recipes[one]

    def _train(self, todo: Sequence[Training], plan: _Plan, made: MadeData, at_once: int | None) -> list[str]:
        """Train and evaluate; returns what is wrong with those that cannot go on."""
        failures: list[str] = []
        room = _room(at_once, len(todo))
        work = partial(self._train_one, made=made, room=room)
        for one, error in each_done(todo, room.slots, work, cancel_trainings):
            if isinstance(error, RunError) and not isinstance(error, StorageError | LeaseLostError):
                failures.append(f"{one}: {error}")
                self._progress.say(failures[-1])
                continue
            if error is not None:
                raise error
            self._evaluate(one, "auto" if room.slots == 1 else room.device)
            _write(self._root, self._study, self._results(plan))
            self._progress.say(f"{one}: {_score_text(self._trained(one))}")
        return failures

    def _train_one(self, one: Training, slot: int, made: MadeData, room: _Room) -> None:
        inputs = self._inputs(one, made)
        if room.slots > 1:
            inputs = _in_one_process(inputs, room.device)
        told = OneOfSeveral(self._progress, str(one), slot if room.slots > 1 else None, self._lock)
        train_run(inputs, str(self._root / one.folder), told)

    def _evaluate(self, one: Training, actors: StageResources | Literal["auto"]) -> None:
        folder = self._root / one.folder
        told = OneOfSeveral(self._progress, str(one), None, self._lock)
        try:
            evaluate_detector(str(folder / "detector"), self._test, folder / "evaluation", actors, told)
        except ConfigError as error:
            raise ConfigError(f"{one}, on data.test: {error}") from None

    def _results(self, plan: _Plan) -> StudyResults:
        trained: dict[str, dict[int, TrainedOnce]] = {arm: {} for arm in self._study.all_arms}
        for one in plan.recipes:
            owner = plan.owner(one)
            if self._is_done(owner, plan):
                trained[one.arm][one.seed] = self._trained(owner)
        study = self._study
        return results_of(study.name, study.title, study.seeds, study.baseline, trained)

    def _trained(self, one: Training) -> TrainedOnce:
        folder = self._root / one.folder
        record = _record(folder)
        assert record is not None
        found = EvaluationRun(folder / "evaluation").evaluation().to_json()
        validated = tuple((told.iteration, told.segm.get("ap")) for told in record.validated)
        return TrainedOnce(one.folder, {kind: found[kind] for kind in ("segm", "bbox")}, validated)


def _trainings(study: StudySettings) -> list[Training]:
    """All arms with the first seed come first: so a table is there early."""
    return [Training(arm, seed) for seed in study.seeds for arm in study.all_arms]


def _room(at_once: int | None, todo: int) -> _Room:
    """Ray must have been started."""
    from xpaste_ray.pipelines.ray_profile import cluster_nodes

    nodes = cluster_nodes()
    gpus = int(sum(node.gpus for node in nodes))
    slots = min(at_once or max(1, gpus), todo)
    if gpus:
        return _Room(slots, StageResources(actors=1, gpus=1))
    cpus = (max(node.cpus for node in nodes) - SPARE_CPUS) // slots
    return _Room(slots, StageResources(actors=1, cpus=max(1.0, cpus)))


def _in_one_process(inputs: TrainingInputs, device: StageResources) -> TrainingInputs:
    """ConfigError if the settings say that several train one detector together."""
    told = inputs.settings.resources
    if told.train != "auto" and told.train.actors > 1:
        raise ConfigError(
            f"resources.train.actors={told.train.actors}: trainings of several processes each go one after "
            "the other: give --at-once 1"
        )
    train = StageResources(actors=1, gpus=device.gpus) if told.train == "auto" else told.train
    resources = told.model_copy(update={"train": train})
    return replace(inputs, settings=inputs.settings.model_copy(update={"resources": resources}))


def _score_text(trained: TrainedOnce) -> str:
    told = {"mask": trained.scores["segm"]["ap"], "box": trained.scores["bbox"]["ap"]}
    return ", ".join(f"{what} AP {100 * ap:.1f}" for what, ap in told.items() if ap is not None)
