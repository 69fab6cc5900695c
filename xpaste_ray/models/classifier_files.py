"""What a classifier's folder says of it, for those that must not load torch.

A trained one's holds `model.safetensors`, the state of torchvision's ResNet of as many outputs as it knows
categories, and `classifier.json`:

    {"arch": "resnet50", "side_px": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
     "categories": [{"id": 3, "name": "car"}, ...]}

categories: by output. mean, std: of the pixels' red, green and blue, in 0 to 1, that the weights expect.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from xpaste_ray.categories import Category
from xpaste_ray.config.base import PositiveInt, Section
from xpaste_ray.config.classifier import AnyClassifier, ClipClassifier, ResNetClassifier, TrainedClassifier
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.clip_config import embedding_dim
from xpaste_ray.models.folders import OPEN_CLIP_FILE, model_folder, model_name

CLASSIFIER_FILE = "classifier.json"
WEIGHTS_FILE = "model.safetensors"

MODEL_OPTION = "foregrounds.classifier.model"
WEIGHTS_OPTION = "foregrounds.classifier.weights"

FEATURE_DIMS = {"resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048}
"""Channels of the last convolution, by `arch`."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class ClassifierCard:
    """What `classifier.json` says. categories: (id, name) by output."""

    arch: str
    side_px: int
    categories: tuple[tuple[int, str], ...]
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD


class _Output(Section):
    id: int
    name: str


class _File(Section):
    arch: str
    side_px: PositiveInt
    categories: tuple[_Output, ...] = Field(min_length=1)
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD


def read_card(folder: Path, option: str = MODEL_OPTION) -> ClassifierCard:
    """What the folder's classifier is. `option` is the setting's name. ConfigError."""
    try:
        told = _File.model_validate_json((folder / CLASSIFIER_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(folder, option, str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise _unusable(folder, option, f"{where}: {first['msg']}") from None
    if told.arch not in FEATURE_DIMS:
        raise _unusable(folder, option, f"arch must be one of {', '.join(FEATURE_DIMS)}, got {told.arch!r}")
    if told.side_px % 32:
        raise _unusable(folder, option, f"side_px must be a multiple of 32, got {told.side_px}")
    if min(told.std) <= 0:
        raise _unusable(folder, option, f"std must be above 0, got {list(told.std)}")
    names = [one.name for one in told.categories]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _unusable(folder, option, f"categories names {twice!r} twice")
    categories = tuple((one.id, one.name) for one in told.categories)
    return ClassifierCard(told.arch, told.side_px, categories, told.mean, told.std)


def _unusable(folder: Path, option: str, problem: str) -> ConfigError:
    return ConfigError(
        f"{option}: {CLASSIFIER_FILE} of {folder.name!r} cannot be used ({problem}): give arch, side_px and "
        'categories, such as [{"id": 3, "name": "car"}], in the order of the outputs'
    )


def card_text(card: ClassifierCard) -> str:
    """What `read_card` reads."""
    told: dict[str, Any] = {
        "arch": card.arch,
        "side_px": card.side_px,
        "mean": card.mean,
        "std": card.std,
        "categories": [{"id": number, "name": name} for number, name in card.categories],
    }
    return json.dumps(told, indent=1) + "\n"


def card_of(settings: ResNetClassifier, categories: Sequence[Category]) -> ClassifierCard:
    """Of a classifier that is to be trained for these categories. Outputs stand in the order of the ids."""
    known = sorted((one.id, one.name) for one in categories)
    return ClassifierCard(settings.arch, settings.side_px, tuple(known))


def classifier_folder(settings: TrainedClassifier | ClipClassifier) -> Path:
    """Where it is, checked. ConfigError, also for pickles."""
    described_by = OPEN_CLIP_FILE if isinstance(settings, ClipClassifier) else CLASSIFIER_FILE
    return model_folder(settings.model, MODEL_OPTION, described_by)


def weights_folder(settings: ResNetClassifier) -> Path | None:
    """Where what the training begins with is; None for random numbers. ConfigError."""
    if settings.weights is None:
        return None
    return model_folder(settings.weights, WEIGHTS_OPTION, WEIGHTS_FILE)


def classifier_name(settings: AnyClassifier) -> str | None:
    """What it is, or is trained from, by its contents, as `folders.model_name` says it; None for random
    numbers. ConfigError."""
    if isinstance(settings, ResNetClassifier):
        folder = weights_folder(settings)
        return None if folder is None or settings.weights is None else model_name(settings.weights, folder)
    return model_name(settings.model, classifier_folder(settings))


def feature_dim(settings: AnyClassifier) -> int:
    """Numbers in a segment's feature. ConfigError if the model's folder cannot be used."""
    match settings:
        case ResNetClassifier():
            return FEATURE_DIMS[settings.arch]
        case TrainedClassifier():
            return FEATURE_DIMS[read_card(classifier_folder(settings)).arch]
        case ClipClassifier():
            return embedding_dim(classifier_folder(settings), MODEL_OPTION)
