"""Settings: presets in YAML, read into models that refuse what they do not know.

Every section is the recipe of one step, so what a step's fingerprint covers can be read off here.
Only `resources` is in no recipe: where and how wide a run goes never changes a byte of it.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from xpaste_ray.categories import did_you_mean
from xpaste_ray.errors import ConfigError

PRESETS_DIR = Path(__file__).resolve().parent / "presets"

ACTOR_CPUS = 0.1
"""Logical CPUs of one actor: a share so small that the pools leave room for the tasks between them."""

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]


def _usable_template(template: str) -> str:
    """A template has {name} and no other field."""
    try:
        if template.format(name="\0") == template.format(name=""):
            raise ValueError("has no {name}")
    except (KeyError, IndexError) as error:
        raise ValueError(f"has the unknown field {{{error.args[0]}}}; only {{name}} is filled in") from None
    return template


Template = Annotated[str, AfterValidator(_usable_template)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CategorySettings(_Section):
    vocabulary: Literal["lvis"]
    names: Literal["all"] | tuple[str, ...]

    @field_validator("names", mode="before")
    @classmethod
    def _one_name(cls, names: Any) -> Any:
        return (names,) if isinstance(names, str) and names != "all" else names


class PromptSettings(_Section):
    template: Template
    per_category: PositiveInt


class SourceSettings(_Section):
    """Text-to-image. `model` is "embedded:diffusion" or a local diffusers folder with safetensors."""

    model: str
    steps: PositiveInt
    guidance_scale: Annotated[float, Field(ge=1)]
    dtype: Literal["float32", "float16", "bfloat16"]
    unit_size: Annotated[int, Field(ge=1, le=256)]
    threads: PositiveInt


class SegmentSettings(_Section):
    """GrabCut. The outermost `border_px` pixels are taken as sure background."""

    method: Literal["grabcut"]
    border_px: PositiveInt
    iterations: PositiveInt


class ScoreSettings(_Section):
    """CLIP. `model` is "embedded:clip" or a local open_clip folder with safetensors."""

    model: str
    template: Template
    micro_batch: PositiveInt
    threads: PositiveInt


class SelectSettings(_Section):
    """X-Paste's rule (clean_pool): bar = min(min_clip_logit, best of the category - tolerance)."""

    min_clip_logit: float
    tolerance: Annotated[float, Field(ge=0)]
    min_area_fraction: Fraction
    max_area_fraction: Fraction
    max_side_px: Annotated[int, Field(ge=8)]

    @model_validator(mode="after")
    def _ordered(self) -> "SelectSettings":
        if self.min_area_fraction > self.max_area_fraction:
            raise ValueError("min_area_fraction must not exceed max_area_fraction")
        return self


class ComposeSettings(_Section):
    """`backgrounds` is "embedded:photos" or a folder of images; ranges are [low, high], both included."""

    backgrounds: str
    count: PositiveInt
    side_px: Annotated[int, Field(ge=16, le=8192)]
    instances: tuple[Annotated[int, Field(ge=0)], PositiveInt]
    size_fraction: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]]
    flip_probability: Fraction
    min_visible_fraction: Fraction
    jpeg_quality: Annotated[int, Field(ge=1, le=100)]
    samples_per_shard: PositiveInt

    @model_validator(mode="after")
    def _ordered(self) -> "ComposeSettings":
        for name in ("instances", "size_fraction"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be [low, high] with low <= high, got [{low}, {high}]")
        return self


class ResourceSettings(_Section):
    """How wide a run goes. Never part of a recipe.

    `local_cpus` are the logical CPUs of a Ray that is started here; more than cores is right, because
    they are bookkeeping and Ray waits in silence when they run out.
    """

    local_cpus: Annotated[int, Field(ge=2)]
    source_actors: PositiveInt
    segment_actors: PositiveInt
    score_actors: PositiveInt
    compose_actors: PositiveInt

    @model_validator(mode="after")
    def _pools_leave_room(self) -> "ResourceSettings":
        pools = max(self.source_actors + self.segment_actors + self.score_actors, self.compose_actors)
        needed = pools * ACTOR_CPUS + 1
        if needed > self.local_cpus:
            raise ValueError(
                f"{pools} actors need local_cpus={math.ceil(needed)}, or Ray would wait for ever "
                f"with local_cpus={self.local_cpus}"
            )
        return self


class Settings(_Section):
    """Everything that a run is made from."""

    seed: Annotated[int, Field(ge=0)]
    categories: CategorySettings
    prompts: PromptSettings
    source: SourceSettings
    segment: SegmentSettings
    score: ScoreSettings
    select: SelectSettings
    compose: ComposeSettings
    resources: ResourceSettings


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))


def load_settings(preset: str, overrides: Sequence[str] = ()) -> Settings:
    """A preset with `path.to.option=value` overrides applied; values are read as YAML.

    Raises ConfigError that names the field, what was given and what is allowed or near.
    """
    if preset not in preset_names():
        raise ConfigError(f"unknown preset {preset!r}{did_you_mean(preset, preset_names())}")
    values = yaml.safe_load((PRESETS_DIR / f"{preset}.yaml").read_text(encoding="utf-8"))
    for override in overrides:
        _apply(values, override)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(detail) for detail in error.errors())) from None


def dump_settings(settings: Settings) -> str:
    """The settings as YAML, as `load_settings` would read them."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, default_flow_style=None)


def _apply(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override!r}: write it as path.to.option=value")
    keys = path.strip().split(".")
    node: Any = values
    for depth, key in enumerate(keys):
        if not isinstance(node, dict) or key not in node:
            where = ".".join(keys[:depth]) or "the settings"
            hint = did_you_mean(key, node) if isinstance(node, dict) else ""
            raise ConfigError(f"unknown option {path.strip()!r}: {where} has no {key!r}{hint}")
        if depth < len(keys) - 1:
            node = node[key]
    try:
        node[keys[-1]] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override!r}: {text!r} is not a YAML value") from None


def _explain(detail: Any) -> str:
    field = ".".join(str(part) for part in detail["loc"]) or "settings"
    message = detail["msg"].removeprefix("Value error, ")
    whole_section = isinstance(detail["input"], dict)
    return f"{field}: {message}" if whole_section else f"{field}: {message}, got {detail['input']!r}"
