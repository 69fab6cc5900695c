"""`xpaste study`: what is reused, what resumes, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pipelines.progress import Told
from tests.pipelines.studies import SET, bytes_of, write_study
from xpaste_ray.errors import ConfigError, RunError
from xpaste_ray.pipelines.study import Training, plan_of, plan_study, run_study
from xpaste_ray.pipelines.study_arms import MadeData, arm_settings, training_data
from xpaste_ray.pipelines.study_data import StudyData
from xpaste_ray.pipelines.train_detector import resolve_training
from xpaste_ray.pool import current_pool, open_pool
from xpaste_ray.studies import load_study

ROOT = Path(__file__).resolve().parents[2]


def loaded(tmp_path, overrides=(), **changes):
    return load_study(str(write_study(tmp_path, **changes)), overrides)


def test_equal_trainings_are_made_once_and_rather_where_they_are_begun():
    one, two, other = Training("a", 0), Training("b", 0), Training("c", 0)
    recipes = {one: "same", two: "same", other: "other"}
    assert plan_of(recipes, ()).owners == (one, other)
    assert plan_of(recipes, {two}).owner(one) == two
    assert plan_of(recipes, {two}).same == {"a": "b"}
    assert plan_of(recipes, {one, two}).same == {"b": "a"}


def test_plan_tells_what_is_there_and_writes_nothing(tmp_path):
    study = loaded(tmp_path)
    told = [(part.what, part.name, part.state) for part in plan_study(study, str(tmp_path / "out"))]
    assert told == [
        ("pool", "discs", "given"),
        ("arm", "real", "0 of 2 trainings are there"),
        ("arm", "pasted", "0 of 2 trainings are there"),
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"set": {**SET, "train.iteratons": 3}}, "arm real: unknown option 'train.iteratons'"),
        ({"arms": {"x": {"set": {"compose.blend": "soft"}}}, "baseline": None}, "arm x: compose.blend"),
        ({"arms": {"x": {"mix": {"discs": 0.5}}}, "baseline": None}, "pool discs has no labelled images"),
        ({"data": {"train": "nowhere"}}, "data.test is missing: set it, as by --set data.test=FILE"),
        ({"data": {"train": "nowhere", "test": "nowhere"}}, "nowhere"),
        ({"pools": {"discs": {"build": "demo"}, "b": {"of": "discs", "set": {"score.threads": 2}}}},
         "pools.b: set.score.threads: of discs's candidates another choice is made"),
        ({"arms": {"x": {"paste": "discs", "set": {"compose.copy_rule": "none"}}}, "baseline": None},
         "arm x: paste: discs, but compose.copy_rule=none pastes nothing of a pool"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_starts(tmp_path, changes, message):
    study = loaded(tmp_path, **changes)
    for work in (lambda: plan_study(study, str(tmp_path / "out")),
                 lambda: run_study(study, str(tmp_path / "out"), Told())):  # fmt: skip
        with pytest.raises(ConfigError) as error:
            work()
        assert message in str(error.value)
    assert not list(tmp_path.glob("out/arms"))


def test_a_folder_of_something_else_is_refused(tmp_path):
    study = loaded(tmp_path)
    for name, text in (("other.txt", ""), ("study.json", '{"kind": "xpaste study", "name": "big"}')):
        out = tmp_path / name.replace(".", "-")
        out.mkdir()
        (out / name).write_text(text)
        with pytest.raises(ConfigError, match="holds other files|is of another study"):
            run_study(study, str(out), Told())


@pytest.mark.faults  # a real build
def test_pools_are_chosen_from_one_run_and_taken_apart_and_merged_once(tmp_path):
    names = {"categories.names": ["banana", "frog"], "prompts.per_category": 4}
    study = loaded(
        tmp_path,
        pools={
            "discs": {"path": str(tmp_path / "discs" / "pools" / "pool")},
            "made": {"build": "demo", "set": {**names, "select.min_clip_logit": -100}},
            "one": {"of": "made", "set": {"select.max_per_category": 1}},
            "part": {"take": "made", "per_category": 2},
            "mixed": {"merge": ["part", "discs"]},
        },
    )
    root = tmp_path / "out"
    made = {name: StudyData(study, root, Told()).pool(name) for name in study.pools}
    sizes = {name: len(open_pool(one.folder)) for name, one in made.items()}
    assert sizes["one"] == 2 and sizes["part"] == 4 and sizes["mixed"] == 8
    assert str(current_pool(root / "pools" / "made")) == made["made"].folder != made["one"].folder
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    again = {name: StudyData(study, root, Told()).pool(name) for name in study.pools}
    assert again == made
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.faults  # a real run of foregrounds
def test_found_masks_are_a_pool_and_a_dataset_and_can_be_chosen_again(tmp_path):
    simple = {
        "foregrounds.classifier": {"kind": "clip", "model": "embedded:clip"},
        "foregrounds.em.min_class_score": 0,
    }
    data = str(tmp_path / "data")
    study = loaded(
        tmp_path,
        data={"train": "found", "test": data, "images": data},
        pools={
            "found": {"foregrounds": "empaste-demo", "set": simple},
            "small": {"of": "found", "set": {"foregrounds.cutout.max_side_px": 8}},
        },
        contexts={"black": {"path": "black"}},
        arms={
            "found": {"paste": "found", "contexts": "black"},
            "mixed": {"train": data, "mix": {"found": 0.3}},
        },
        baseline=None,
    )
    root = tmp_path / "out"
    made = {name: StudyData(study, root, Told()).pool(name) for name in ("small", "found")}
    found = json.loads((root / "labelled" / "found" / "annotations.json").read_text())
    assert len(found["annotations"]) == len(open_pool(made["found"].folder)) == 2
    sides = {name: int(open_pool(one.folder).sizes_hw.max()) for name, one in made.items()}
    assert sides["small"] == 8 < sides["found"]
    again = {name: StudyData(study, root, Told()).pool(name) for name in ("small", "found")}
    assert again == made and made["small"].labelled == root / "labelled" / "small"
    told = MadeData(made, {"black": "black"})
    sizes = {}
    for name, arm in study.all_arms.items():
        inputs = resolve_training(arm_settings(study, name, arm, told), training_data(study, arm, told))
        sizes[name] = (len(inputs.backgrounds), inputs.pool and len(inputs.pool), len(inputs.mixed))
    assert sizes == {"found": (3, 2, 0), "mixed": (2, None, 1)}  # two images and black


@pytest.mark.faults  # trainings
def test_study_reuses_what_is_there_and_refuses_an_arm_that_is_changed(tmp_path):
    file, out = write_study(tmp_path, seeds=[0]), tmp_path / "out"
    first = run_study(load_study(str(file)), str(out), Told())
    assert (first.trained, first.reused) == (2, 0)
    before = bytes_of(out)
    again = run_study(load_study(str(file)), str(out), Told())
    assert (again.trained, again.reused) == (0, 2)
    assert bytes_of(out) == before
    more = run_study(load_study(str(file), ["arms.twice={}"]), str(out), Told())
    assert (more.trained, more.reused, more.same) == (0, 2, {"twice": "real"})
    assert [arm["name"] for arm in json.loads((out / "study.json").read_text())["arms"]][-1] == "twice"
    with pytest.raises(ConfigError, match=r"arm pasted was trained otherwise[^$]*instances"):
        run_study(load_study(str(file), ["arms.pasted.set={compose.instances: [3, 3]}"]), str(out), Told())
    fewer = run_study(load_study(str(file), ["arms={real: {}}"]), str(out), Told())
    assert [arm.name for arm in fewer.results.arms] == ["real"]


@pytest.mark.faults  # trainings
def test_an_arm_that_cannot_go_on_is_named_when_the_others_are_done(tmp_path):
    bad = {"set": {"train.learning_rate": 1e30, "train.iterations": 60}}
    study, out = loaded(tmp_path, seeds=[0], arms={"bad": bad, "real": {}}), tmp_path / "out"
    with pytest.raises(RunError, match="bad, seed 0"):
        run_study(study, str(out), Told())
    bad, real = json.loads((out / "study.json").read_text())["arms"]
    assert (len(bad["runs"]), len(real["runs"])) == (0, 1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A study's file, and what comes of it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    file = write_study(folder)
    summary = run_study(load_study(str(file)), str(folder / "out"), Told())
    assert (summary.trained, summary.reused) == (4, 0)
    return file, bytes_of(folder / "out")


@pytest.mark.faults  # kills
@pytest.mark.parametrize(("how", "at_once"), [(signal.SIGKILL, 1), (signal.SIGINT, 2)])
def test_study_that_is_ended_half_way_goes_on_to_the_same_weights_and_table(
    undisturbed, tmp_path, how, at_once
):
    (file, expected), out = undisturbed, tmp_path / "out"
    with _begun(file, out, at_once) as process:
        _wait_until(lambda: list(out.glob("arms/*/*/evaluation/evaluation.json")), process)
        process.send_signal(how)
        code = process.wait(60)
    if how == signal.SIGINT:
        assert code == 130 and not list(out.rglob(".lease.json"))
    done = len(list(out.glob("arms/*/*/evaluation/evaluation.json")))
    assert 1 <= done < 4
    summary = run_study(load_study(str(file)), str(out), Told())
    assert (summary.trained, summary.reused) == (4 - done, done)
    assert bytes_of(out) == expected


def _begun(file: Path, out: Path, at_once: int) -> "subprocess.Popen[bytes]":
    code = "from xpaste_ray.cli import main; main()"
    told = [sys.executable, "-c", code, "study", str(file), "--out", str(out), "--at-once", str(at_once)]
    return subprocess.Popen(told, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def _wait_until(condition, process, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
