"""`xpaste train` on a real local Ray."""

import json

import pytest
from safetensors.torch import load_file

from tests.pipelines.progress import Told
from tests.training.material import disc_dataset
from xpaste_ray.config import TrainSettings, load
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.detector import Detector
from xpaste_ray.pipelines.train_detector import TrainingData, resolve_training, train_run, training_step

TINY = (
    "compose.canvas.size_hw=[48, 48]", "compose.canvas.scale=[1, 1]", "compose.instances=[2, 2]",
    "compose.size={rule: pixels, pixels: [10, 20]}",
    "train.detector={arch: resnet18_fpn, side_px: 64, weights: null}", "train.batch=2", "train.warm_up=2",
    "train.iterations=2", "train.learning_rate=0.001", "train.dtype=float32", "train.threads=1",
    "resources.train={actors: 1, cpus: 0.5}", "resources.source={actors: 1}",
    "resources.segment={actors: 1}", "resources.score={actors: 1}",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("discs")
    for seed, name in enumerate(("train", "val")):
        disc_dataset(folder / name, 4, seed)
    return folder


def _inputs(data, *changes, **told):
    settings = load(TrainSettings, "xpaste", (*TINY, *changes), {"compose.backgrounds": str(data / "train")})
    told = {"validation": str(data / "val")} | told
    return resolve_training(settings, TrainingData(**told))


def test_run_is_made_found_done_and_refused_with_other_settings(data, tmp_path):
    inputs, out = _inputs(data), tmp_path / "run"
    summary = train_run(inputs, str(out), Told())
    told = json.loads((out / "run.json").read_text())
    assert summary.counts == told["counts"]
    assert summary.counts["train"]["iterations"] == 2 and summary.counts["train"]["images"] == 4
    assert set(summary.counts["validation"]["segm"]) >= {"ap", "ap50", "rare"}
    assert Detector(out).categories == ((1, "banana"), (18, "frog"), (44, "lion"))
    assert not (out / "training").exists()
    before = (out / "detector" / "model.safetensors").read_bytes()
    assert train_run(_inputs(data), str(out), Told()).already_done
    with pytest.raises(ConfigError, match=r"train.learning_rate: 0.001 -> 0.01"):
        train_run(_inputs(data, "train.learning_rate=0.01"), str(out), Told())
    assert (out / "detector" / "model.safetensors").read_bytes() == before


@pytest.mark.faults  # a group of processes
def test_group_of_processes_differs_from_one_by_rounding_only(data, tmp_path):
    for actors in (1, 2):
        inputs = _inputs(data, f"resources.train={{actors: {actors}, cpus: 0.5}}")
        train_run(inputs, str(tmp_path / str(actors)), Told())
    one, two = (load_file(tmp_path / name / "detector" / "model.safetensors") for name in "12")
    assert max(float((one[name].float() - two[name].float()).abs().max()) for name in one) < 1e-2
    with pytest.raises(ConfigError, match="train.batch is 3 and 2 processes train"):
        train_run(_inputs(data, "train.batch=3", "resources.train={actors: 2, cpus: 0.5}"),
                  str(tmp_path / "3"), Told())  # fmt: skip


def test_recipe_is_of_what_the_weights_follow_from(data, make_pool):
    def recipe(*changes, **told):
        return training_step(_inputs(data, *changes, **told)).fingerprint

    pool = str(make_pool({"banana": 2, "frog": 1}).folder)
    same = recipe()
    assert same == recipe(
        "train.workers=9", "train.checkpoint_every=7", "compose.count=5", "compose.copy_rule=pool"
    )
    others = [
        recipe("train.batch=4"), recipe("seed=3"), recipe("train.detector.arch=resnet50_fpn"),
        recipe("compose.canvas.scale=[1, 2]"), recipe("train.threads=2"), recipe(validation=None),
        recipe(mix=((str(data / "val"), 0.5),)), recipe(paste=pool), recipe("compose.copy_rule=self"),
    ]  # fmt: skip
    assert len({same, *others}) == 10


def test_without_a_pool_a_presets_rule_pastes_nothing_of_one(data):
    assert _inputs(data, "compose.copy_rule=pool").settings.compose.copy_rule == "none"
    assert _inputs(data, "compose.copy_rule=both").settings.compose.copy_rule == "self"
    with pytest.raises(ConfigError, match="p:0.5 pastes instances of a pool: give one with --paste"):
        _inputs(data, "compose.copy_rule=p:0.5")


def test_a_pool_that_nothing_is_pasted_of_is_refused(data, make_pool):
    pool = make_pool({"banana": 1})
    with pytest.raises(ConfigError, match="--paste .*: compose.copy_rule=self pastes nothing of a pool"):
        _inputs(data, "compose.copy_rule=self", paste=str(pool.folder))


@pytest.mark.parametrize("shares", [(0.5, 0.5), (1.0,), (0.0,), (-0.1,)])
def test_shares_that_leave_nothing_of_the_main_dataset_are_refused(data, shares):
    mix = tuple((str(data / "val"), share) for share in shares)
    with pytest.raises(ConfigError, match=r"--mix: shares are .*: each must be between 0 and 1"):
        _inputs(data, mix=mix)


def test_validation_with_other_names_is_refused(data, tmp_path):
    other = disc_dataset(tmp_path / "other", 2)
    text = (other / "annotations.json").read_text().replace('"frog"', '"toad"')
    (other / "annotations.json").write_text(text)
    with pytest.raises(ConfigError, match="--val calls category 18 'toad' and --train calls it 'frog'"):
        _inputs(data, validation=str(other))


def test_object_store_is_no_place_to_train_in(data):
    with pytest.raises(ConfigError, match="a detector is trained in a local or shared folder"):
        train_run(_inputs(data), "s3://bucket/run", Told())
