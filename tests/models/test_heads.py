import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from xpaste_ray.errors import ConfigError
from xpaste_ray.models.heads import Head


def _save(folder, tensors, activation="none", output="none"):
    """A folder as a user would make it of a PyTorch state dict."""
    folder.mkdir(exist_ok=True)
    told = {"activation": activation, "output": output}
    (folder / "head.json").write_text(json.dumps(told), encoding="utf-8")
    tensors = {name: np.asarray(values, np.float32) for name, values in tensors.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_linear_head_is_a_weighted_sum(tmp_path):
    """As LAION's aesthetic predictor: the state dict of one layer."""
    head = Head(_save(tmp_path / "h", {"weight": [[2, -1]], "bias": [5]}), "score.aesthetic", 2)
    assert head(np.array([0.6, 0.8], np.float32)) == pytest.approx(2 * 0.6 - 0.8 + 5)


LAYERS = {  # the numbers of a Sequential with other modules between; 10 comes after 2
    "layers.10.weight": [[1, 10]],
    "layers.10.bias": [0.5],
    "layers.2.weight": [[-1, 0], [0, -1]],
    "layers.2.bias": [0, 0],
}


@pytest.mark.parametrize(
    ("activation", "output", "expected"),
    [
        ("none", "none", 0.6 - 8 + 0.5),
        ("relu", "none", 0.6 + 0.5),
        ("none", "sigmoid", 1 / (1 + np.exp(6.9))),
        ("relu", "sigmoid", 1 / (1 + np.exp(-1.1))),
    ],
)
def test_layers_go_by_their_numbers_with_the_activation_between(tmp_path, activation, output, expected):
    head = Head(_save(tmp_path / "h", LAYERS, activation, output), "score.nsfw", 2)
    assert head(np.array([-0.6, 0.8], np.float32)) == pytest.approx(expected, abs=1e-5)


def test_embedding_is_standardised_where_the_head_says_so(tmp_path):
    """As LAION's NSFW detector: (x - mean) / sqrt(variance) before the first layer."""
    tensors = {
        "norm.mean": [0.2, 0.8],
        "norm.variance": [4, 1],
        "linear_1.weight": [[1, 7]],
        "linear_1.bias": [0],
    }
    head = Head(_save(tmp_path / "h", tensors), "score.nsfw", 2)
    assert head(np.array([0.6, 0.8], np.float32)) == pytest.approx(0.4 / 2)


def test_sigmoid_of_a_large_number_is_one(tmp_path):
    head = Head(_save(tmp_path / "h", {"weight": [[-900.0]]}, output="sigmoid"), "score.nsfw", 1)
    assert (head(np.array([-1.0])), head(np.array([1.0]))) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": np.zeros((1, 3))}, "takes embeddings of 3 numbers and score.model makes 2"),
        ({"mean": np.zeros(3), "variance": np.ones(3), "weight": np.zeros((1, 2))}, "takes embeddings of 3"),
        ({"a1.weight": np.zeros((4, 2)), "a2.weight": np.zeros((1, 5))}, "must fit together and end in one"),
        ({"weight": np.zeros((2, 2))}, "end in one number"),
        ({"weight": np.zeros((1, 2, 1, 1))}, "must have linear layers only"),
        ({"kernel": np.zeros((1, 2))}, "holds no layer"),
    ],
)  # fmt: skip
def test_head_that_does_not_fit_is_refused(tmp_path, tensors, message):
    with pytest.raises(ConfigError, match=f"score.nsfw.*{message}"):
        Head(_save(tmp_path / "h", tensors), "score.nsfw", 2)


def test_unknown_activation_is_refused(tmp_path):
    folder = _save(tmp_path / "h", {"weight": [[1, 1]]}, activation="gelu")
    with pytest.raises(ConfigError, match='head.json must be {"activation": "none" or "relu"'):
        Head(folder, "score.nsfw", 2)


def test_two_files_of_weights_are_refused(tmp_path):
    folder = _save(tmp_path / "h", {"weight": [[1, 1]]})
    save_file({"weight": np.zeros((1, 2), np.float32)}, folder / "more.safetensors")
    with pytest.raises(ConfigError, match="holds 2 safetensors files"):
        Head(folder, "score.nsfw", 2)
