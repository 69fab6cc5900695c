"""All sections together."""

from typing import Annotated

from pydantic import ConfigDict, Field, field_validator, model_validator

from xpaste_ray.config.base import Section
from xpaste_ray.config.compose import ComposeSettings
from xpaste_ray.config.contexts import ContextSettings
from xpaste_ray.config.foregrounds import ForegroundSettings
from xpaste_ray.config.prompts import CategorySettings, PromptSettings
from xpaste_ray.config.resources import ResourceSettings
from xpaste_ray.config.score import ScoreSettings
from xpaste_ray.config.segment import SegmentSettings
from xpaste_ray.config.select import CutoutSettings, SelectSettings
from xpaste_ray.config.sources import AnySource, Name, SourceSettings
from xpaste_ray.config.train import TrainingSettings


class DatasetSettings(Section):
    """Everything that a dataset is composed by, beside its pool."""

    model_config = ConfigDict(extra="ignore")  # a preset may say how its pool is made, too

    seed: Annotated[int, Field(ge=0)]
    compose: ComposeSettings
    resources: ResourceSettings


class TrainSettings(DatasetSettings):
    """Everything that a detector is trained by, beside its data."""

    train: TrainingSettings = TrainingSettings()


class PoolSettings(Section):
    """Everything that a pool is made from."""

    model_config = ConfigDict(extra="ignore")  # a preset may say what is composed of it, too

    seed: Annotated[int, Field(ge=0)]
    categories: CategorySettings
    prompts: PromptSettings
    sources: dict[Name, SourceSettings]
    segment: SegmentSettings
    score: ScoreSettings
    select: SelectSettings
    cutout: CutoutSettings = CutoutSettings()
    resources: ResourceSettings

    @field_validator("sources")
    @classmethod
    def _some_source(cls, sources: dict[str, AnySource]) -> dict[str, AnySource]:
        if not sources:
            raise ValueError("needs at least one source, such as photos: {kind: folder, path: photos/}")
        return sources

    @model_validator(mode="after")
    def _scores_are_made(self) -> "PoolSettings":
        for problem in self.select.unmade(self.score):
            raise ValueError(problem)
        return self


class Settings(PoolSettings, TrainSettings):
    """Everything that a whole run is made from, from category names to a dataset, and to a detector."""

    model_config = ConfigDict(extra="forbid")


class EmPasteSettings(ForegroundSettings, ContextSettings, TrainSettings):
    """Everything that a whole run of EM-Paste is made from, from labelled images to a dataset, and to a
    detector."""

    model_config = ConfigDict(extra="forbid")
