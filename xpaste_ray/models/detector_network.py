"""Mask R-CNN from torchvision's parts, and what it begins with.

resnet50_fpn and resnet50_fpn_v2 are torchvision's `maskrcnn_resnet50_fpn` and `..._v2`, so their weights fit;
resnet18_fpn has a pyramid of a quarter of their width, narrower heads, and smaller anchors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from xpaste_ray.config.train import DetectorSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.classifier_files import IMAGENET_MEAN, IMAGENET_STD
from xpaste_ray.models.detector_files import WEIGHTS_FILE, WEIGHTS_OPTION, weights_folder
from xpaste_ray.models.detector_heads import DetectorHeads, KeyedSampler
from xpaste_ray.models.shared_norm import SharedBatchNorm2d
from xpaste_ray.rng import int_seed_for

_LEVELS = ("layer1", "layer2", "layer3", "layer4")
_FIRST_LEVEL = ("conv1", "layer1")  # as detectron2 rests them, FREEZE_AT: 2


@dataclass(frozen=True, slots=True)
class _Shape:
    """body: torchvision's name of it, and the channels of its four levels. anchors: side in pixels, of the
    five levels of the pyramid. proposals: kept of each image, in training and afterwards. sampled: anchors,
    and proposals, that an image is learnt from."""

    body: str
    channels: tuple[int, int, int, int]
    pyramid: int
    anchors: tuple[int, ...]
    proposals: tuple[int, int]
    sampled: tuple[int, int]
    box_size: int
    mask_channels: int
    normalised_heads: bool = False


_WIDE = (256, 512, 1024, 2048)
_SHAPES = {
    "resnet18_fpn": _Shape(
        "resnet18", (64, 128, 256, 512), 64, (16, 32, 64, 128, 256), (300, 200), (128, 64), 256, 32
    ),
    "resnet50_fpn": _Shape(
        "resnet50", _WIDE, 256, (32, 64, 128, 256, 512), (2000, 1000), (256, 512), 1024, 256
    ),
    "resnet50_fpn_v2": _Shape(
        "resnet50", _WIDE, 256, (32, 64, 128, 256, 512), (2000, 1000), (256, 512), 1024, 256, True
    ),
}


def new_network(settings: DetectorSettings, categories: int, seed: int) -> GeneralizedRCNN:
    """As the settings' weights and the seed say; for so many categories. ConfigError."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int_seed_for(seed, "detector-network"))
        network = empty_network(settings, categories, seed)
    folder = weights_folder(settings)
    if folder is not None:
        _begin_with(network, folder, settings.arch)
    return network


def empty_network(settings: DetectorSettings, categories: int, seed: int = 0) -> GeneralizedRCNN:
    """Random numbers, of torch's generator. seed: of what is drawn in training."""
    shape, labels = _SHAPES[settings.arch], categories + 1
    norm = SharedBatchNorm2d if shape.normalised_heads else None
    transform = GeneralizedRCNNTransform(
        settings.side_px, settings.side_px, list(IMAGENET_MEAN), list(IMAGENET_STD), _skip_resize=True
    )  # in training an image is a canvas, which has its size
    return GeneralizedRCNN(
        _body(shape, norm), _proposer(shape, seed), _heads(shape, norm, labels, settings, seed), transform
    )


def _body(shape: _Shape, norm: type[nn.Module] | None) -> BackboneWithFPN:
    body = getattr(torchvision.models, shape.body)(weights=None, norm_layer=SharedBatchNorm2d)
    levels = {name: str(number) for number, name in enumerate(_LEVELS)}
    return BackboneWithFPN(body, levels, list(shape.channels), shape.pyramid, norm_layer=norm)


def _proposer(shape: _Shape, seed: int) -> RegionProposalNetwork:
    anchors = AnchorGenerator(tuple((side,) for side in shape.anchors), ((0.5, 1.0, 2.0),) * 5)
    depth = 2 if shape.normalised_heads else 1
    head = RPNHead(shape.pyramid, anchors.num_anchors_per_location()[0], conv_depth=depth)
    training, testing = shape.proposals
    kept = {"training": training, "testing": testing}
    proposer = RegionProposalNetwork(anchors, head, 0.7, 0.3, shape.sampled[0], 0.5, kept, kept, 0.7)
    proposer.fg_bg_sampler = KeyedSampler(shape.sampled[0], 0.5, "anchors", seed)
    return proposer


def _heads(
    shape: _Shape, norm: type[nn.Module] | None, labels: int, settings: DetectorSettings, seed: int
) -> DetectorHeads:
    levels, width = ["0", "1", "2", "3"], shape.mask_channels
    box_head: nn.Module = TwoMLPHead(shape.pyramid * 7**2, shape.box_size)
    if norm:
        box_head = FastRCNNConvFCHead((shape.pyramid, 7, 7), [256] * 4, [shape.box_size], norm_layer=norm)
    heads = DetectorHeads(
        MultiScaleRoIAlign(levels, 7, 2),
        box_head,
        FastRCNNPredictor(shape.box_size, labels),
        0.5,
        0.5,
        shape.sampled[1],
        0.25,
        None,
        settings.min_score,
        0.5,
        settings.detections,
        MultiScaleRoIAlign(levels, 14, 2),
        MaskRCNNHeads(shape.pyramid, [width] * 4, 1, norm_layer=norm),
        MaskRCNNPredictor(width, width, labels),
    )
    heads.fg_bg_sampler = KeyedSampler(shape.sampled[1], 0.25, "proposals", seed)
    return heads


def load_network(folder: Path, settings: DetectorSettings, categories: int, option: str) -> GeneralizedRCNN:
    """A trained one, ready to be used. ConfigError if the folder's weights are not all of it."""
    network = empty_network(settings, categories)
    try:
        network.load_state_dict(_state(folder, option))
    except RuntimeError as error:
        raise ConfigError(
            f"{option}: {WEIGHTS_FILE} of {folder.name!r} is not what its detector.json says "
            f"({_first(error)}): give the folder that `xpaste train` wrote"
        ) from None
    return network.eval()


def _begin_with(network: GeneralizedRCNN, folder: Path, arch: str) -> None:
    """Take up a body, or all of a detector but what it says of its own categories."""
    given = _state(folder, WEIGHTS_OPTION)
    if not any(name.startswith("backbone.") for name in given):
        given = {
            f"backbone.body.{name}": value for name, value in given.items() if not name.startswith("fc.")
        }
    own = network.state_dict()
    taken = {name: value for name, value in given.items() if name in own and value.shape == own[name].shape}
    wanted = {name for name in own if name.startswith("backbone.body.") and "num_batches" not in name}
    if missing := sorted(wanted - taken.keys()):
        raise ConfigError(
            f"{WEIGHTS_OPTION}: {folder.name!r} does not hold the weights of {arch} ({len(missing)} are "
            f"missing or of another shape, such as {missing[0]}): give those of a {_SHAPES[arch].body}, or "
            "set train.detector.arch to what they are of"
        )
    network.load_state_dict({**own, **taken})


def _state(folder: Path, option: str) -> Mapping[str, torch.Tensor]:
    try:
        return load_file(folder / WEIGHTS_FILE)
    except (FileNotFoundError, SafetensorError) as error:
        raise ConfigError(f"{option}: {WEIGHTS_FILE} of {folder.name!r} cannot be read ({error})") from None


def _first(error: RuntimeError) -> str:
    return "; ".join(line.strip() for line in str(error).splitlines()[1:3])


def rest_body(network: GeneralizedRCNN) -> None:
    """Keep of a body that came with weights its first level, and all of its normalisation, as they are."""
    body = network.backbone.body
    for name, module in body.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.requires_grad_(False)
        elif name.partition(".")[0] in _FIRST_LEVEL:
            module.requires_grad_(False)
