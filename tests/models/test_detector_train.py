import json
import socket

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import distributed
from torch.multiprocessing import spawn

from tests.training.material import disc_dataset
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.config import TrainSettings, load
from xpaste_ray.errors import ConfigError, RunError
from xpaste_ray.models import detector_train
from xpaste_ray.models.detector import Detector
from xpaste_ray.models.detector_files import detector_card
from xpaste_ray.models.detector_record import DetectorRecord, Validated, Window, curves_png, record_of
from xpaste_ray.models.detector_train import DetectorTask, train_detector
from xpaste_ray.training.opening import open_samples

TINY = (
    "compose.copy_rule=none", "compose.canvas.size_hw=[64, 64]", "compose.canvas.scale=[1, 1]",
    "train.detector={arch: resnet18_fpn, side_px: 64, weights: null}", "train.batch=4", "train.warm_up=2",
    "train.iterations=4", "train.learning_rate=0.001", "train.threads=1",
    "train.dtype=float32", "train.checkpoint_every=2", "train.light.probability=0",
)  # fmt: skip


@pytest.fixture(autouse=True)
def short_windows(monkeypatch):
    """Two iterations, not twenty."""
    monkeypatch.setattr(detector_train, "WINDOW", 2)


@pytest.fixture
def discs(tmp_path):
    def indexed(name, count, seed=0):
        return open_or_index(resolve_source(disc_dataset(tmp_path / name, count, seed)), tmp_path / "cache")

    return indexed


def _settings(*changes):
    return load(TrainSettings, "xpaste", (*TINY, *changes), {"compose.backgrounds": "black"})


def _training(folder, backgrounds, *changes, seed=0):
    settings = _settings(*changes)
    samples = open_samples(backgrounds, None, (), settings.compose, settings.train, seed)
    card = detector_card(settings.train.detector, samples.categories)
    task = DetectorTask(settings.train, card, seed, "r", folder / "detector", folder / "training")
    return task, samples


def _weights(task):
    return load_file(task.folder / "model.safetensors")


def _same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.faults  # a minute and a half of training
def test_eight_images_are_learnt_by_heart(tmp_path, discs):
    """The loss falls to a tenth, and what the detector finds in them is right."""
    images = discs("a", 8)
    changes = ("train.iterations=160", "train.warm_up=20", "train.evaluate_every=160", "train.ema=0.9",
               "train.batch=8")  # fmt: skip
    task, samples = _training(tmp_path, images, *changes)
    record = train_detector(task, samples, images)
    assert record.windows[-1].loss < record.windows[0].loss / 10
    assert record.validated[-1].segm["ap50"] > 0.95
    (found,) = Detector(task.folder)([images.load(0)])
    truth = images.annotations(0)
    assert sorted(found.labels[: len(truth)]) == sorted(one.category_id for one in truth)


def test_stopped_training_goes_on_to_the_same_bytes(tmp_path, discs, monkeypatch):
    images = discs("a", 6)
    whole, samples = _training(tmp_path / "whole", images)
    record = train_detector(whole, samples, None)
    stopped, samples = _training(tmp_path / "stopped", images)
    keep = detector_train._Training._keep

    def keep_and_stop(training):
        keep(training)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(detector_train._Training, "_keep", keep_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train_detector(stopped, samples, None)
    assert DetectorRecord.read(stopped.work / "training.json").done == 2 and not stopped.folder.exists()
    torch.manual_seed(99)  # what else is drawn in the process changes nothing
    assert train_detector(stopped, samples, None) == record
    assert _same(_weights(whole), _weights(stopped))


def test_training_of_another_recipe_is_begun_anew(tmp_path, discs):
    images = discs("a", 4)
    task, samples = _training(tmp_path, images)
    task.work.mkdir()
    (task.work / "last.safetensors").write_bytes(b"damaged")
    assert train_detector(task, samples, None).done == 4


def test_its_folder_says_what_it_is_and_how_it_went(tmp_path, discs):
    images = discs("a", 4)
    task, samples = _training(tmp_path, images, "train.evaluate_every=2")
    record = train_detector(task, samples, images)
    assert [window.iteration for window in record.windows] == [2, 4]
    assert [one.iteration for one in record.validated] == [2, 4]
    assert {path.name for path in task.folder.iterdir()} == {
        "model.safetensors", "detector.json", "training.json", "curves.png",
    }  # fmt: skip
    assert DetectorRecord.read(task.folder / "training.json") == record
    told = json.loads((task.folder / "detector.json").read_text())
    assert [one["id"] for one in told["categories"]] == [1, 18, 44]
    detector = Detector(task.folder)
    assert detector.categories == ((1, "banana"), (18, "frog"), (44, "lion"))
    found, small = detector([images.load(0), np.zeros((20, 30, 3), np.uint8)])
    assert found.masks.shape[1:] == (64, 64) and small.masks.shape[1:] == (20, 30)
    assert set(found.labels.tolist()) <= {1, 18, 44}
    assert (np.diff(found.scores) <= 0).all()


def test_run_of_the_command_is_a_detectors_folder_too(tmp_path, discs):
    task, samples = _training(tmp_path, discs("a", 2), "train.iterations=2")
    train_detector(task, samples, None)
    assert Detector(tmp_path).categories == Detector(tmp_path / "detector").categories
    with pytest.raises(
        ConfigError, match="--weights .*nowhere is not a folder: give the one that a detector"
    ):
        Detector(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("option", "unmoved"),
    [
        ("pasted_mask_loss", "roi_heads.mask_predictor"),
        ("pasted_box_loss", "roi_heads.box_predictor.bbox_pred"),
    ],
)
def test_pasted_objects_teach_no_box_or_mask_where_that_is_switched_off(tmp_path, discs, option, unmoved):
    """Every object is pasted, so that part of the network stays as it began."""
    folder = disc_dataset(tmp_path / "pasted", 4)
    told = json.loads((folder / "annotations.json").read_text())
    for one in told["annotations"]:
        one["origin"] = "pool"
    (folder / "annotations.json").write_text(json.dumps(told))
    images = open_or_index(resolve_source(folder), tmp_path / "cache")
    ends = {}
    for switch in ("true", "false"):
        changes = (f"train.{option}={switch}", "train.weight_decay=0")
        task, samples = _training(tmp_path / switch, images, *changes)
        record = train_detector(task, samples, None)
        ends[switch] = _weights(task), record.windows[0].losses
    begun = detector_train.new_network(task.settings.detector, 3, 0).state_dict()
    names = [name for name in begun if name.startswith(unmoved)]
    assert names and all(torch.equal(begun[name], ends["false"][0][name]) for name in names)
    assert not _same({name: begun[name] for name in names}, ends["true"][0])
    loss = {"pasted_mask_loss": "loss_mask", "pasted_box_loss": "loss_box_reg"}[option]
    assert ends["false"][1][loss] == 0 < ends["true"][1][loss]


def test_body_that_comes_with_weights_keeps_its_normalisation_to_the_end(tmp_path, discs):
    (tmp_path / "body").mkdir()
    body = torchvision.models.resnet18(weights=None).state_dict()
    save_file(body, tmp_path / "body" / "model.safetensors")
    task, samples = _training(tmp_path, discs("a", 4), f"train.detector.weights={tmp_path / 'body'}")
    train_detector(task, samples, None)
    end = _weights(task)
    for name, value in body.items():
        rests = ".bn" in name or name.startswith(("bn1", "conv1", "layer1")) or "downsample.1" in name
        if rests and "num_batches" not in name:
            assert torch.equal(end[f"backbone.body.{name}"], value), name
    assert not torch.equal(end["backbone.body.layer4.1.conv2.weight"], body["layer4.1.conv2.weight"])


def test_divergence_says_what_to_change(tmp_path, discs):
    task, samples = _training(tmp_path, discs("a", 4), "train.learning_rate=1e30", "train.clip_norm=1e30")
    with pytest.raises(RunError, match=r"diverged in iteration \d: lower train.learning_rate"):
        train_detector(task, samples, None)


@pytest.fixture
def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


SLOW = ("train.learning_rate=1e-6",)  # AdamW's steps are as long as the rate, and would make much of rounding


def _one_of_two(rank, folder, backgrounds, port):
    detector_train.WINDOW = 2
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    task, samples = _training(folder, backgrounds, *SLOW)
    train_detector(task, samples, backgrounds)
    distributed.destroy_process_group()


@pytest.mark.faults  # two processes that load torch
def test_two_processes_differ_from_one_by_rounding_only(tmp_path, discs, free_port):
    images = discs("a", 6)
    alone, samples = _training(tmp_path / "alone", images, *SLOW)
    record = train_detector(alone, samples, images)
    spawn(_one_of_two, args=(tmp_path / "both", images, free_port), nprocs=2)
    together = DetectorRecord.read(tmp_path / "both" / "detector" / "training.json")
    for one, other in zip(record.windows, together.windows, strict=True):
        assert other.losses == pytest.approx(one.losses, rel=1e-3)


def test_batch_that_cannot_be_shared_says_so(tmp_path, discs, monkeypatch):
    monkeypatch.setattr(detector_train, "world_size", lambda: 3)
    task, samples = _training(tmp_path, discs("a", 2))
    with pytest.raises(ConfigError, match="train.batch is 4 and 3 processes train: give a batch"):
        train_detector(task, samples, None)


def test_record_comes_back_from_its_text_and_is_drawn():
    losses = {"loss_mask": 0.5, "loss_classifier": 1.0}
    scores = {"ap": 0.25, "ap50": 0.5, "rare": None}
    record = DetectorRecord(
        "r", 40, (Window(20, 0.1, losses), Window(40, 0.0, losses)), (Validated(40, scores, scores),)
    )
    assert record_of(record.text()) == record and record.done == 40 and record.windows[0].loss == 1.5
    assert record_of("[]") is None and record_of('{"recipe": 1}') is None
    assert curves_png(record).startswith(b"\x89PNG") and curves_png(DetectorRecord("r", 1)).startswith(
        b"\x89PNG"
    )
