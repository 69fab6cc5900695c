"""The folder of a trained detector: model.safetensors, and detector.json, which says what it is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from xpaste_ray.cache import local_copy
from xpaste_ray.categories import Category
from xpaste_ray.config.base import Section
from xpaste_ray.config.train import DetectorSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.folders import model_folder, model_name
from xpaste_ray.storage import locate

DETECTOR_FILE, WEIGHTS_FILE = "detector.json", "model.safetensors"
WEIGHTS_OPTION = "train.detector.weights"


@dataclass(frozen=True, slots=True)
class DetectorCard:
    """settings: of the detector, but for what it was trained from. categories: (id, name) by label, from
    label 1 on; 0 is the background."""

    settings: DetectorSettings
    categories: tuple[tuple[int, str], ...]

    @property
    def category_ids(self) -> tuple[int, ...]:
        return tuple(number for number, _ in self.categories)


class _Category(Section):
    id: int
    name: str


class _File(Section):
    detector: DetectorSettings
    categories: tuple[_Category, ...] = Field(min_length=1)


def detector_card(settings: DetectorSettings, categories: Sequence[Category]) -> DetectorCard:
    """Of a detector that is to be trained for these categories; labels stand in the order of the ids."""
    known = sorted((one.id, one.name) for one in categories)
    return DetectorCard(settings.model_copy(update={"weights": None}), tuple(known))


def card_text(card: DetectorCard) -> str:
    """What `read_card` reads."""
    told: dict[str, Any] = {
        "detector": card.settings.model_dump(mode="json"),
        "categories": [{"id": number, "name": name} for number, name in card.categories],
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def read_card(folder: Path, option: str) -> DetectorCard:
    """option: the setting's name, for messages. ConfigError."""
    try:
        told = _File.model_validate_json((folder / DETECTOR_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option}: {DETECTOR_FILE} of {folder.name!r} cannot be read ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise ConfigError(
            f"{option}: {DETECTOR_FILE} of {folder.name!r} is not what `xpaste train` writes ({where}: "
            f"{first['msg']})"
        ) from None
    return DetectorCard(told.detector, tuple((one.id, one.name) for one in told.categories))


def detector_folder(weights: str, option: str) -> Path:
    """The detector in the folder that `weights` means, checked. ConfigError."""
    return model_folder(str(saved_folder(weights, option)), option, DETECTOR_FILE)


def saved_folder(weights: str, option: str) -> Path:
    """Where a detector's files are on this node, copied from an object store if need be; of a run that made
    one, its `detector` folder. ConfigError."""
    try:
        folder = local_copy(locate(weights)) if "://" in weights else Path(weights)
    except FileNotFoundError:
        folder = None
    if folder is None or not folder.is_dir():
        raise ConfigError(
            f"{option} {weights} is not a folder: give the one that a detector was saved to (a path, s3:// "
            "or gs://)"
        )
    own = folder / "detector"
    return own if own.is_dir() else folder


def weights_folder(settings: DetectorSettings) -> Path | None:
    """Where what the training begins with is; None for random numbers. ConfigError."""
    if settings.weights is None:
        return None
    return model_folder(settings.weights, WEIGHTS_OPTION, WEIGHTS_FILE)


def weights_name(settings: DetectorSettings) -> str | None:
    """What the training begins with, by its contents, as `folders.model_name` says it."""
    folder = weights_folder(settings)
    return None if folder is None or settings.weights is None else model_name(settings.weights, folder)
