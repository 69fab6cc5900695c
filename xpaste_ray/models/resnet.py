"""torchvision's ResNets with one output for each category."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models import ResNet

from xpaste_ray.errors import ConfigError
from xpaste_ray.models.classifier_files import WEIGHTS_FILE

_HEAD = ("fc.weight", "fc.bias")


def new_resnet(arch: str, outputs: int, norm: type[nn.BatchNorm2d] = nn.BatchNorm2d) -> ResNet:
    """Random numbers, of torch's generator."""
    network: ResNet = getattr(torchvision.models, arch)(weights=None, num_classes=outputs, norm_layer=norm)
    return network


def load_resnet(folder: Path, arch: str, outputs: int, option: str) -> ResNet:
    """All of a saved state, ready to be used. ConfigError if it is of another network."""
    network = new_resnet(arch, outputs)
    _load(network, _state(folder, option), folder, option)
    return network.eval()


def load_body(network: ResNet, folder: Path, arch: str, option: str) -> None:
    """All of a saved state but its outputs, as torchvision and timm name it, which stay those of `network`.
    ConfigError if it is of another network."""
    state = _state(folder, option)
    own = network.state_dict()
    kept = {name: own[name] for name in _HEAD}
    if _deep(state) != _deep(own):
        raise ConfigError(
            f"{option}: {folder.name!r} does not hold the weights of {arch}: give those of {arch}, or set "
            "foregrounds.classifier.arch to what they are of"
        )
    _load(network, {**state, **kept}, folder, option)


def _deep(state: Mapping[str, torch.Tensor]) -> set[str]:
    """Names that tell one depth from another. timm leaves out how often a normalisation was updated."""
    return {name for name in state if name not in _HEAD and not name.endswith("num_batches_tracked")}


def _state(folder: Path, option: str) -> dict[str, torch.Tensor]:
    try:
        return load_file(folder / WEIGHTS_FILE)
    except (FileNotFoundError, SafetensorError) as error:
        raise ConfigError(
            f"{option}: {WEIGHTS_FILE} of {folder.name!r} cannot be read ({error}): save the network's state "
            "there with safetensors"
        ) from None


def _load(network: nn.Module, state: Mapping[str, torch.Tensor], folder: Path, option: str) -> None:
    own = network.state_dict()
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    try:
        network.load_state_dict({**counters, **state})
    except RuntimeError as error:
        first = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise ConfigError(
            f"{option}: {folder.name!r} does not hold the weights of this network ({first}): its "
            "classifier.json must say the arch and the categories that they are of"
        ) from None
