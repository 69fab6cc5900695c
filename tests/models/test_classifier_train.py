import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import distributed
from torch.multiprocessing import spawn

from tests.models.shapes import CATEGORIES, RED, Discs, disc_image, training_task
from xpaste_ray.config.classifier import TrainedClassifier
from xpaste_ray.errors import ConfigError, RowError, RunError, StorageError
from xpaste_ray.models import classifier_train
from xpaste_ray.models.cam import activation_centre_yx
from xpaste_ray.models.classifier import open_classifier
from xpaste_ray.models.classifier_train import mean_average_precision, train
from xpaste_ray.models.resnet import new_resnet
from xpaste_ray.models.segment_picture import in_square
from xpaste_ray.models.shared_norm import SharedBatchNorm2d
from xpaste_ray.models.training_record import Epoch, TrainingRecord, best_of, has_ended, plot_png
from xpaste_ray.rng import rng_for

pytestmark = pytest.mark.usefixtures("one_thread")


def _files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A classifier of 48 images, and one that is broken."""
    task = training_task(tmp_path_factory.mktemp("learnt"), epochs=6, patience=6, batch=12)
    return task, train(task, Discs(tuple(range(49)), broken=(7,)))


def test_small_network_learns_to_tell_coloured_discs(learnt):
    task, record = learnt
    assert record.best.mean_average_precision > 0.9
    assert record.epochs[-1].loss < record.epochs[0].loss
    classifier = open_classifier(task.settings, (), trained=task.folder)
    new = Discs(tuple(range(99, 111)))
    looked = [classifier.look([in_square(new.load(i), 32)])[0] for i in range(12)]
    assert np.mean([one.probabilities.argmax() == i % 3 for i, one in enumerate(looked)]) > 0.8


@pytest.mark.faults  # a minute of training
def test_trained_network_sees_discs_where_they_are(tmp_path):
    """On average its centres are nearer to them than the images' centres are (measured: 12 and 17 px)."""
    task = training_task(tmp_path, side_px=128, epochs=5, patience=5, batch=12)
    train(task, Discs(tuple(range(48))))
    classifier = open_classifier(task.settings, (), trained=task.folder)
    own, middle = [], []
    for number in range(60):
        place = rng_for(1, "disc-place", number).integers(10, 54, 2)
        category = CATEGORIES[number % 3]
        (cam,) = classifier.cams([disc_image(category.id, tuple(map(int, place)))], [number % 3])
        own.append(np.hypot(*np.subtract(activation_centre_yx(cam, 0.5), place)))
        middle.append(np.hypot(*np.subtract((31.5, 31.5), place)))
    assert np.mean(own) < 0.85 * np.mean(middle)


def test_its_folder_is_that_of_a_trained_classifier_and_tells_how_it_went(learnt):
    task, record = learnt
    assert set(_files(task.folder)) == {
        "model.safetensors", "classifier.json", "training.json", "loss.png",
    }  # fmt: skip
    assert (task.folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert TrainingRecord.read(task.folder / "training.json") == record
    told = json.loads((task.folder / "training.json").read_text())
    assert told["best_epoch"] == record.best.number
    assert (record.training, record.held_out, record.judged, record.skipped) == (38, 10, 3, {"unreadable": 1})
    opened = open_classifier(TrainedClassifier(kind="trained", model=str(task.folder)), ())
    assert opened.output_of("blue") == 2 and opened.side_px == 32


def test_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    images = Discs(tuple(range(20)))
    whole, stopped = (training_task(tmp_path / name, epochs=3) for name in ("whole", "stopped"))
    train(whole, images)
    with monkeypatch.context() as patch:
        patch.setattr(classifier_train, "has_ended", lambda epochs, most, patience: len(epochs) == 2)
        patch.setattr(classifier_train, "_finish", lambda task, record: None)
        assert len(train(stopped, images).epochs) == 2
    assert not stopped.folder.exists()
    began = []
    original = classifier_train._Training._train
    monkeypatch.setattr(
        classifier_train._Training, "_train", lambda self, epoch: began.append(epoch) or original(self, epoch)
    )
    train(stopped, images)
    assert began == [3]
    assert _files(stopped.folder) == _files(whole.folder)


def test_order_in_which_images_stand_changes_nothing(tmp_path):
    one, other = (training_task(tmp_path / name, epochs=1) for name in "ab")
    train(one, Discs(tuple(range(12))))
    train(other, Discs(tuple(reversed(range(12)))))
    assert _files(one.folder) == _files(other.folder)


def test_unfinished_work_of_another_recipe_is_not_continued(tmp_path):
    images = Discs(tuple(range(12)))
    first = training_task(tmp_path, epochs=1)
    train(first, images)
    second = training_task(tmp_path, epochs=1, seed=1, recipe="other")
    assert len(train(second, images).epochs) == 1
    alone = training_task(tmp_path / "alone", epochs=1, seed=1, recipe="other")
    train(alone, images)
    assert _files(second.folder) == _files(alone.folder)


@pytest.mark.parametrize("written", [b"torn", save({"x": torch.zeros(1)})], ids=["torn", "another-file"])
def test_checkpoint_that_cannot_be_used_is_begun_again(tmp_path, written):
    task = training_task(tmp_path, epochs=1)
    task.work.mkdir()
    (task.work / "last.safetensors").write_bytes(written)
    assert len(train(task, Discs(tuple(range(8)))).epochs) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_set_too_small_to_hold_any_out_is_trained_without(tmp_path, count):
    record = train(training_task(tmp_path, epochs=2, patience=1), Discs(tuple(range(count))))
    assert (record.training, record.held_out) == (count, 0)
    assert [epoch.mean_average_precision for epoch in record.epochs] == [None, None]  # patience needs a judge
    assert record.best.number == 2


def test_set_of_one_category_is_trained(tmp_path):
    task = training_task(tmp_path, categories=(RED,), epochs=1)
    record = train(task, Discs(tuple(range(10)), categories=(RED,)))
    assert record.judged == 1 and record.best.mean_average_precision == 1.0
    assert load_file(task.folder / "model.safetensors")["fc.weight"].shape == (1, 512)


def test_nothing_that_can_be_read_is_an_error_that_says_why(tmp_path):
    with pytest.raises(ConfigError, match=r"none of 3 images can be used .*\(unreadable 3\)"):
        train(training_task(tmp_path), Discs((0, 1, 2), broken=(0, 1, 2)))
    with pytest.raises(ConfigError, match="none of 0 images"):
        train(training_task(tmp_path), Discs(()))


@dataclass(frozen=True)
class Vanishing(Discs):
    """Each image can be read once."""

    seen: set = field(default_factory=set)

    def load(self, number):
        if number in self.seen:
            raise RowError("missing_file")
        self.seen.add(number)
        return super().load(number)


def test_image_that_vanishes_meanwhile_is_an_error_that_names_it(tmp_path):
    with pytest.raises(StorageError, match=r"image-00\d could be read when the training began"):
        train(training_task(tmp_path), Vanishing((0, 1, 2)))


def test_training_that_diverges_is_an_error_that_says_what_to_lower(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier_train._Training, "_train", lambda self, epoch: float("nan"))
    with pytest.raises(RunError, match=r"diverged in epoch 1: lower .*learning_rate"):
        train(training_task(tmp_path), Discs(tuple(range(4))))


def test_training_begins_with_the_weights_that_are_given(tmp_path):
    torch.manual_seed(5)
    given = new_resnet("resnet18", 7).state_dict()
    (tmp_path / "weights").mkdir()
    save_file(given, tmp_path / "weights" / "model.safetensors")
    task = training_task(
        tmp_path, epochs=1, weights=str(tmp_path / "weights"), learning_rate=1e-9, weight_decay=0
    )
    train(task, Discs(tuple(range(6))))
    state = load_file(task.folder / "model.safetensors")
    assert torch.allclose(state["layer4.0.conv1.weight"], given["layer4.0.conv1.weight"], atol=1e-6)
    assert state["fc.weight"].shape == (3, 512)


# --- several processes ---------------------------------------------------------------------------


def _in_group(rank, size, root):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{root}/meet", rank=rank, world_size=size)
    norm = SharedBatchNorm2d(3)
    torch.manual_seed(0)
    pixels, weights = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    own = pixels[rank * 4 : rank * 4 + 4].clone().requires_grad_()  # four images, and one
    (norm(own) * weights[rank * 4 : rank * 4 + 4]).sum().backward()
    torch.save(
        {"gradient": own.grad, "mean": norm.running_mean, "var": norm.running_var}, root / f"{rank}.pt"
    )
    train(training_task(root, epochs=1, batch=3), Discs((0, 1, 2, 3), broken=(3,)))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Two processes: what their normalisation made, and a classifier that they trained together."""
    root = tmp_path_factory.mktemp("group")
    spawn(_in_group, (2, root), nprocs=2)
    return root


@pytest.mark.faults  # processes of their own: seconds to start
def test_normalisation_and_its_gradients_are_those_of_the_whole_batch(group):
    norm = torch.nn.BatchNorm2d(3)
    torch.manual_seed(0)
    pixels, weights = torch.randn(5, 3, 4, 4).requires_grad_(), torch.randn(5, 3, 4, 4)
    (norm(pixels) * weights).sum().backward()
    parts = [torch.load(group / f"{rank}.pt") for rank in range(2)]
    assert torch.allclose(torch.cat([part["gradient"] for part in parts]), pixels.grad, atol=1e-5)
    for part in parts:
        assert torch.allclose(part["mean"], norm.running_mean, atol=1e-6)
        assert torch.allclose(part["var"], norm.running_var, atol=1e-6)


@pytest.mark.faults
def test_classifier_of_two_processes_is_that_of_one_up_to_rounding(group, tmp_path):
    """Batches of three or fewer: one of the two has less to do than the other."""
    alone = training_task(tmp_path, epochs=1, batch=3)
    record = train(alone, Discs((0, 1, 2, 3), broken=(3,)))
    together = TrainingRecord.read(group / "classifier" / "training.json")
    assert (
        (together.training, together.skipped) == (record.training, record.skipped) == (3, {"unreadable": 1})
    )
    assert together.epochs[0].loss == pytest.approx(record.epochs[0].loss, abs=1e-5)
    one, two = (load_file(folder / "model.safetensors") for folder in (alone.folder, group / "classifier"))
    differences = torch.cat([(one[name].float() - two[name].float()).abs().flatten() for name in one])
    assert float((differences < 1e-4).float().mean()) > 0.95


# --- figures -------------------------------------------------------------------------------------


def test_mean_average_precision_is_of_the_categories_that_are_there():
    """Ranks of the first: right, wrong, right: (1 + 2/3) / 2. The second is perfect; the third is nowhere."""
    truth = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], bool)
    scores = np.array([[0.9, 0.1, 0.5], [0.5, 0.8, 0.5], [0.1, 0.2, 0.5]])
    assert mean_average_precision(truth, scores) == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert mean_average_precision(np.zeros((2, 3), bool), scores[:2]) is None


def _epochs(*told):
    return tuple(Epoch(i, 1.0, judged, loss) for i, (judged, loss) in enumerate(told, start=1))


def test_best_epoch_has_the_highest_precision_then_the_lowest_loss_then_is_the_first():
    assert best_of(_epochs((0.5, 1), (0.9, 3), (0.9, 2), (0.9, 2), (0.1, 0))).number == 3
    assert best_of(_epochs((None, None), (None, None))).number == 2
    assert best_of(()) is None


def test_training_ends_after_so_many_epochs_without_a_better_one():
    epochs = _epochs((0.5, 1), (0.9, 1), (0.8, 1), (0.7, 1))
    assert not has_ended(epochs[:3], 10, 2) and has_ended(epochs, 10, 2)
    assert has_ended(epochs[:2], 2, 5) and not has_ended((), 1, 1)
    assert not has_ended(_epochs((None, None), (None, None)), 10, 1)


def test_plot_needs_no_held_out_images():
    assert plot_png(TrainingRecord("r", _epochs((None, None)))).startswith(b"\x89PNG")


def test_record_that_is_something_else_is_none(tmp_path):
    for text in ("{}", "no json", "[]", '{"epochs": [{"x": 1}]}'):
        (tmp_path / "training.json").write_text(text)
        assert TrainingRecord.read(tmp_path / "training.json") is None
    assert TrainingRecord.read(tmp_path / "nothing.json") is None
