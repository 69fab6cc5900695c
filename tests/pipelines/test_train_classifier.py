from types import SimpleNamespace

import pytest

from tests.models.shapes import BLUE, CATEGORIES, GREEN, RED, Discs, resnet_settings
from xpaste_ray.config import StageResources
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.classifier_files import card_of
from xpaste_ray.models.training_record import Epoch, TrainingRecord
from xpaste_ray.pipelines.train_classifier import described, train_classifier, training_recipe

ONE, TWO = StageResources(actors=1, cpus=0.5), StageResources(actors=2, cpus=0.5)


class Heard:
    """A progress that remembers."""

    def __init__(self):
        self.began, self.done, self.said = [], [], []

    def begin(self, totals, unit):
        self.began.append((totals, unit))

    def advance(self, stage, done, state=None):
        self.done.append((stage, done))

    def say(self, text):
        self.said.append(text)


def _recipe(images=None, seed=0, categories=CATEGORIES, **options):
    settings = resnet_settings(**options)
    return training_recipe(settings, images or Discs((0, 1, 2)), card_of(settings, categories), seed)


def test_recipe_is_of_what_the_classifier_follows_from():
    assert _recipe() == _recipe(Discs((2, 0, 1))) == _recipe(categories=(BLUE, RED, GREEN))
    assert _recipe() == _recipe(micro_batch=3, threads=7, dtype="float16")  # of its use
    others = [
        _recipe(Discs((0, 1, 3))), _recipe(seed=1), _recipe(categories=CATEGORIES[:2]), _recipe(epochs=9),
        _recipe(batch=9), _recipe(side_px=64), _recipe(train_threads=3),
    ]  # fmt: skip
    assert len({_recipe(), *others}) == 8


def test_finished_classifier_of_the_same_recipe_is_kept(tmp_path):
    settings, images = resnet_settings(), Discs((0, 1, 2))
    folder = tmp_path / "classifier"
    folder.mkdir()
    record = TrainingRecord(_recipe(images), (Epoch(1, 0.5),), 3)
    (folder / "training.json").write_text(record.text())
    heard = Heard()
    made = train_classifier(tmp_path, settings, images, CATEGORIES, 0, heard, ONE)  # Ray is not even started
    assert (made.folder, made.record, made.already_done) == (folder, record, True) and heard.began == []


def test_label_that_is_none_of_the_categories_names_its_image(tmp_path):
    with pytest.raises(ConfigError, match="foregrounds.images: image-001 has the category 2"):
        train_classifier(tmp_path, resnet_settings(), Discs((0, 1)), (RED, BLUE), 0, Heard(), ONE)


def test_summary_tells_what_was_left_out_and_whether_anything_judged_it():
    record = TrainingRecord(
        "r", (Epoch(1, 0.5, 0.75, 0.4), Epoch(2, 0.4, 0.5, 0.4)), 8, 2, 2, {"unreadable": 3}
    )
    assert described(record) == (
        "classifier: 2 epochs of 8 images, 3 left out (unreadable 3); "
        "epoch 1 is best: mAP 0.750 of 2 held-out images, 2 categories"
    )
    assert "nothing judged it" in described(TrainingRecord("r", (Epoch(1, 0.5),), 3))


# --- with Ray ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The same classifier by a task and by a group of two, through Ray Train, and what was told meanwhile."""
    from xpaste_ray.pipelines.ray_profile import start_ray

    start_ray(2)
    images = Discs(tuple(range(16)), broken=(5,))
    made = {}
    for name, resources in (("one", ONE), ("two", TWO)):
        run, heard = tmp_path_factory.mktemp(name), Heard()
        done = train_classifier(run, resnet_settings(), images, CATEGORIES, 0, heard, resources)
        made[name] = SimpleNamespace(run=run, heard=heard, done=done)
    return made


@pytest.mark.faults  # a group takes a minute to start where cores are few
@pytest.mark.parametrize("name", ["one", "two"])
def test_classifier_is_trained_and_nothing_else_is_left(trained, name):
    told = trained[name]
    assert [path.name for path in told.run.iterdir()] == ["classifier"]
    assert told.heard.began == [({"train": 2}, "epochs")] and told.heard.done[-1] == ("train", 2)
    assert told.heard.said[0].startswith("classifier: 2 epochs of 12 images, 1 left out (unreadable 1)")
    assert not told.done.already_done


@pytest.mark.faults
def test_number_of_workers_changes_rounding_only(trained):
    one, two = (trained[name].done.record for name in ("one", "two"))
    assert one.recipe == two.recipe and one.skipped == two.skipped
    assert two.epochs[0].loss == pytest.approx(one.epochs[0].loss, abs=1e-3)


@pytest.mark.faults
@pytest.mark.parametrize("resources", [ONE, TWO], ids=["one", "two"])
def test_what_is_wrong_with_the_images_comes_back_as_the_same_error(trained, tmp_path, resources):
    broken = Discs((0, 1), broken=(0, 1))
    with pytest.raises(ConfigError, match=r"none of 2 images can be used .*unreadable 2"):
        train_classifier(tmp_path, resnet_settings(), broken, CATEGORIES, 0, Heard(), resources)
