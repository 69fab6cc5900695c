import json

import pytest
import torch
from safetensors.torch import save_file

from tests.models.shapes import BLUE, GREEN, RED, resnet_settings
from xpaste_ray.config.classifier import ClipClassifier, TrainedClassifier
from xpaste_ray.embedded import CLIP_DIR
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.classifier_files import (
    CLASSIFIER_FILE,
    card_of,
    card_text,
    classifier_name,
    feature_dim,
    read_card,
)

CARD = {"arch": "resnet34", "side_px": 64, "categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "cat"}]}


def _folder(path, **changes):
    path.mkdir(exist_ok=True)
    (path / CLASSIFIER_FILE).write_text(json.dumps({**CARD, **changes}))
    save_file({"x": torch.zeros(1)}, path / "model.safetensors")
    return path


def test_outputs_stand_in_the_order_of_the_ids_and_are_read_back():
    card = card_of(resnet_settings(), [BLUE, RED, GREEN])
    assert card.categories == ((1, "red"), (2, "green"), (5, "blue"))


def test_what_is_written_is_read_back(tmp_path):
    card = card_of(resnet_settings(arch="resnet50", side_px=96), [BLUE, RED])
    (tmp_path / CLASSIFIER_FILE).write_text(card_text(card))
    assert read_card(tmp_path) == card


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"arch": "vgg"}, "arch must be one of resnet18"),
        ({"side_px": 100}, "side_px must be a multiple of 32"),
        ({"categories": []}, "categories"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "'a' twice"),
        ({"std": [1, 0, 1]}, "std must be above 0"),
        ({"mean": [1, 2]}, "mean"),
    ],
)
def test_card_that_cannot_be_used_names_the_option_and_what_is_wrong(tmp_path, changes, problem):
    with pytest.raises(ConfigError, match=rf"foregrounds.classifier.model: classifier.json .*{problem}"):
        read_card(_folder(tmp_path / "model", **changes))


def test_length_of_a_feature_is_known_without_the_network(tmp_path):
    assert feature_dim(resnet_settings()) == 512
    assert feature_dim(resnet_settings(arch="resnet101")) == 2048
    trained = TrainedClassifier(kind="trained", model=str(_folder(tmp_path / "model")))
    assert feature_dim(trained) == 512
    assert feature_dim(ClipClassifier(kind="clip", model="embedded:clip")) == 128


def test_folder_that_is_not_there_or_holds_a_pickle_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="foregrounds.classifier.model: .* does not exist"):
        feature_dim(TrainedClassifier(kind="trained", model=str(tmp_path / "nothing")))
    folder = _folder(tmp_path / "model")
    (folder / "model.pth").write_bytes(b"")
    with pytest.raises(ConfigError, match="foregrounds.classifier.model: .* a pickle"):
        feature_dim(TrainedClassifier(kind="trained", model=str(folder)))
    with pytest.raises(ConfigError, match="foregrounds.classifier.weights: .* a pickle"):
        classifier_name(resnet_settings(weights=str(folder)))


def test_name_is_of_the_contents_wherever_they_lie(tmp_path):
    assert classifier_name(resnet_settings()) is None
    name = classifier_name(resnet_settings(weights=str(_folder(tmp_path / "model"))))
    assert name.startswith("model@")
    assert classifier_name(ClipClassifier(kind="clip", model=str(CLIP_DIR))).startswith("clip@")
