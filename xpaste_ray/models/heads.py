"""Small networks that read one number off a CLIP embedding: how pleasing an image is, how safe."""

import json
import re
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from xpaste_ray.config.score import ScoreSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.folders import model_folder

HEAD_FILE = "head.json"

_CHOICES = {"activation": ("none", "relu"), "output": ("none", "sigmoid")}


class Head:
    """Linear layers on an embedding of unit length, with an activation between them and one at the end.

    The folder holds head.json, {"activation": "none" or "relu", "output": "none" or "sigmoid"}, and one
    safetensors file with a `.weight` (out, in) and a `.bias` (out,) for each layer, in the order of the
    numbers in their names. A `.mean` and a `.variance`, where there are such, standardise the embedding
    first. Those are the names that PyTorch gave, so a public head need only be saved as safetensors:

    - aesthetic, none and none: LAION-AI/aesthetic-predictor (sa_0_4_vit_l_14_linear), a layer of 768 to 1;
      christophschuhmann/improved-aesthetic-predictor (sac+logos+ava1-l14-linearMSE), layers of 768, 1024,
      128, 64, 16 and 1, trained with dropout and nothing else between them. About 1 to 10, 10 is best.
    - nsfw, relu and sigmoid: LAION-AI/CLIP-based-NSFW-Detector (clip_autokeras_binary_nsfw, in its PyTorch
      port), standardised, layers of 768, 64, 512, 256 and 1. 0 to 1, 1 is unsafe.

    All three are for OpenAI's ViT-L/14. Computed in float32, without BLAS, whose sums depend on how many
    threads it takes. ConfigError if the folder does not fit an embedding of `embedding_dim` numbers; `option`
    is the setting's name.
    """

    def __init__(self, folder: Path, option: str, embedding_dim: int) -> None:
        self._activation, self._output = _read_kind(folder / HEAD_FILE, option)
        tensors = _read_tensors(folder, option)
        self._mean, self._deviation = _standardisation(tensors)
        self._layers = _layers(tensors)
        _check_sizes(self._mean, self._layers, f"{option}: {str(folder)!r}", embedding_dim)

    def __call__(self, embedding: np.ndarray) -> float:
        """embedding: (D,) of unit length. May be NaN, if that is."""
        values = (np.asarray(embedding, np.float32) - self._mean) / self._deviation
        for number, (weight, bias) in enumerate(self._layers):
            if number and self._activation == "relu":
                values = np.maximum(values, 0)
            values = np.einsum("oi,i->o", weight, values) + bias
        result = float(values[0])
        return 0.5 * (1 + float(np.tanh(result / 2))) if self._output == "sigmoid" else result


def open_heads(settings: ScoreSettings, embedding_dim: int) -> dict[str, Head]:
    """Those that the settings name, by score. ConfigError."""
    folders = head_folders(settings)
    return {name: Head(folder, f"score.{name}", embedding_dim) for name, folder in folders.items()}


def head_folders(settings: ScoreSettings) -> dict[str, Path]:
    """Where their files are, checked, by score. ConfigError."""
    told = {"nsfw": settings.nsfw, "aesthetic": settings.aesthetic}
    return {name: model_folder(model, f"score.{name}", HEAD_FILE) for name, model in told.items() if model}


def _read_kind(file: Path, option: str) -> tuple[str, str]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        activation, output = (told[key] for key in _CHOICES)
    except (ValueError, KeyError, TypeError):
        told = None
    if told is None or activation not in _CHOICES["activation"] or output not in _CHOICES["output"]:
        raise ConfigError(
            f'{option}: {file} must be {{"activation": "none" or "relu", "output": "none" or "sigmoid"}}'
        )
    return activation, output


def _read_tensors(folder: Path, option: str) -> dict[str, np.ndarray]:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise ConfigError(
            f"{option}: {str(folder)!r} holds {len(files)} safetensors files: keep the head's only"
        )
    return {name: tensor.astype(np.float32) for name, tensor in load_file(files[0]).items()}


def _standardisation(tensors: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, (D,); 0 and 1 where there are none."""
    mean, variance = (
        next((tensor for name, tensor in tensors.items() if name.split(".")[-1] == wanted), default)
        for wanted, default in (("mean", np.zeros(1, np.float32)), ("variance", np.ones(1, np.float32)))
    )
    return mean, np.sqrt(variance)


def _layers(tensors: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (out, in) and biases (out,), in order; a layer without a bias gets zeros."""
    layers = []
    for name in sorted((name for name in tensors if name.split(".")[-1] == "weight"), key=_by_numbers):
        bias = tensors.get(f"{name.removesuffix('weight')}bias", np.zeros(len(tensors[name]), np.float32))
        layers.append((tensors[name], bias))
    return layers


def _by_numbers(name: str) -> list[int | str]:
    """layers.2 before layers.10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _check_sizes(
    mean: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]], head: str, embedding_dim: int
) -> None:
    if not layers:
        raise ConfigError(f"{head} holds no layer: its tensors must be named <layer>.weight and <layer>.bias")
    shapes = [weight.shape for weight, _ in layers]
    if any(len(shape) != 2 for shape in shapes):
        raise ConfigError(f"{head} must have linear layers only, got weights of {shapes}")
    takes = len(mean) if len(mean) > 1 else shapes[0][1]
    if takes != embedding_dim:
        raise ConfigError(
            f"{head} takes embeddings of {takes} numbers and score.model makes {embedding_dim}: choose the "
            "head that was made for this model"
        )
    sizes = [shapes[0][1], *(shape[0] for shape in shapes)]
    if [shape[1] for shape in shapes] != sizes[:-1] or sizes[-1] != 1 or takes != sizes[0]:
        raise ConfigError(f"{head}: its layers must fit together and end in one number, got {shapes}")
