"""What a path means inside a Ray job, whose working directory is a copy that is deleted after it."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xpaste_ray.config import ContextSettings, ForegroundSettings, PoolSettings, TrainSettings
from xpaste_ray.config.base import Section
from xpaste_ray.errors import ConfigError
from xpaste_ray.models.hub import PREFIX


def check_absolute(option: str, place: str) -> None:
    """ConfigError for a relative path inside a Ray job: what is written there would be lost, and what is
    read there is on the driver's node at best."""
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    if in_job and "://" not in place and not Path(place).is_absolute():
        raise ConfigError(
            f"{option} {place}: inside a Ray job a relative path lies in the job's own copy of the working "
            "directory, which is deleted: give s3://..., gs://... or an absolute path on a shared disk"
        )


_PLACES = (
    "model", "weights", "path", "list", "run", "annotations", "images", "crops", "nsfw", "aesthetic", "file",
    "distractors",
)  # fmt: skip


def places_of(settings: PoolSettings) -> Iterator[tuple[str, str]]:
    """Options of a pool's settings that name a file or folder which every node reads, with their values."""
    return _not_shipped(_named(settings))


def _not_shipped(named: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((option, place) for option, place in named if not place.startswith(("embedded:", PREFIX)))


def hub_models(settings: Section) -> Iterator[tuple[str, str]]:
    """Options that name a model of the Hub, with their values. settings: of any kind."""
    named: list[tuple[str, str]] = []
    if isinstance(settings, PoolSettings):
        named += _named(settings)
    if isinstance(settings, ForegroundSettings):
        named += _named_in(_foreground_sections(settings))
    if isinstance(settings, ContextSettings):
        named += _named_in(_context_sections(settings))
    if isinstance(settings, TrainSettings):
        named += _named_in({"train.detector": settings.train.detector})
    return ((option, place) for option, place in named if place.startswith(PREFIX))


def foreground_places(settings: ForegroundSettings) -> Iterator[tuple[str, str]]:
    """As `places_of`, of foregrounds."""
    return _not_shipped(_named_in(_foreground_sections(settings)))


def context_places(settings: ContextSettings) -> Iterator[tuple[str, str]]:
    """As `places_of`, of contexts."""
    return _not_shipped(_named_in(_context_sections(settings)))


def _context_sections(settings: ContextSettings) -> dict[str, Any]:
    told = settings.contexts
    sections = {"images": told.images, "captions": told.captions, "source": told.source, "score": told.score}
    return {"contexts": told, **{f"contexts.{name}": one for name, one in sections.items()}}


def _foreground_sections(settings: ForegroundSettings) -> dict[str, Any]:
    told = settings.foregrounds
    methods = {f"foregrounds.segment.methods.{name}": one for name, one in told.segment.methods.items()}
    return {"foregrounds.images": told.images, **methods, "foregrounds.classifier": told.classifier}


def _named(settings: PoolSettings) -> Iterator[tuple[str, str]]:
    sections: dict[str, Any] = {f"sources.{name}": one for name, one in settings.sources.items()}
    sections |= {f"segment.methods.{name}": one for name, one in settings.segment.methods.items()}
    sections |= {"score": settings.score, "score.real": settings.score.real}
    return _named_in(sections)


def _named_in(sections: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for section, told in sections.items():
        for option in _PLACES:
            place = getattr(told, option, None)
            if isinstance(place, str):
                yield f"{section}.{option}", place
