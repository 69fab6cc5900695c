"""Settings: presets in YAML, read into models that refuse what they do not know.

Every section is the recipe of one step, so what a step's fingerprint covers can be read off here.
Only `resources` is in no recipe: where and how wide a run goes never changes a byte of it.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from xpaste_ray.categories import did_you_mean
from xpaste_ray.errors import ConfigError
from xpaste_ray.storage import locate
from xpaste_ray.yaml12 import dump_yaml, load_yaml

PRESETS_DIR = Path(__file__).resolve().parent / "presets"

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


def _copy_rule(rule: str) -> str:
    """p:.5 is p:0.5."""
    if rule not in ("pool", "self", "both") and not re.fullmatch(r"p:(0?\.\d+|0|1(\.0+)?)", rule):
        raise ValueError("must be pool, self, both or p:x with x from 0 to 1, such as p:0.5")
    return rule.replace("p:.", "p:0.")


CopyRule = Annotated[str, AfterValidator(_copy_rule)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CategorySettings(_Section):
    vocabulary: Literal["lvis"]
    names: Literal["all"] | tuple[str, ...]

    @field_validator("names", mode="before")
    @classmethod
    def _one_name(cls, names: Any) -> Any:
        if not isinstance(names, str | list | tuple):
            raise ValueError("must be all, a name or a list of names, such as [banana, frog]")
        return (names,) if isinstance(names, str) and names != "all" else names


class PromptSettings(_Section):
    template: Template
    per_category: PositiveInt


SourceSidePx = Annotated[int, Field(ge=64, le=2048, multiple_of=8)]


class SourceSettings(_Section):
    """Text-to-image. `model` is "embedded:diffusion" or a local diffusers folder with safetensors.

    Null means the pipeline's own: `steps` and `guidance_scale` (1 and 0.0 for SD-Turbo and SDXL-Turbo; 1
    or less is without guidance), `size_hw` in pixels. vae_batch: how many images the VAE decodes at a
    time, null for a whole unit. compile: run the denoising network through torch.compile.
    """

    model: str
    steps: PositiveInt | None = None
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    size_hw: tuple[SourceSidePx, SourceSidePx] | None = None
    dtype: Literal["float32", "float16", "bfloat16"]
    unit_size: Annotated[int, Field(ge=1, le=256)]
    vae_batch: PositiveInt | None = None
    compile: bool = False
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


Range = tuple[float, float]
"""[low, high], both included."""


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if low > high:
        raise ValueError("must be [low, high] with low <= high")
    return value


PositiveRange = Annotated[
    tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], AfterValidator(_ordered)
]
FractionRange = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]], AfterValidator(_ordered)
]
CountRange = Annotated[
    tuple[Annotated[int, Field(ge=0, le=10_000)], Annotated[int, Field(ge=0, le=10_000)]],
    AfterValidator(_ordered),
]
SidePx = Annotated[int, Field(ge=16, le=8192)]


class CanvasSettings(_Section):
    """How a background becomes the canvas.

    fit: `resize` to size_hw whatever the aspect ratio; `crop` a random rectangle of size_hw's aspect
    ratio, `scale` times the largest one that fits; `lsj` resize by `scale` times what fits size_hw,
    then a random crop to it; `keep` the image as it is. `pad`: what `lsj` leaves of size_hw is black on
    the right and below, as published (X-Paste pads in its trainer's batches); else canvases are smaller.
    """

    size_hw: tuple[SidePx, SidePx]
    fit: Literal["resize", "crop", "lsj", "keep"]
    scale: PositiveRange
    flip_probability: Fraction
    pad: bool = True

    @model_validator(mode="after")
    def _crop_inside(self) -> "CanvasSettings":
        if self.fit == "crop" and self.scale[1] > 1:
            raise ValueError(f"scale must not exceed 1 with fit=crop, got {list(self.scale)}")
        return self


class CategoryRuleSettings(_Section):
    """Which category is drawn. uniform: over instances; balanced: category, then instance; present:
    balanced over those in the background (over all where it has none of the pool's); frequency and
    weights: by `weights`, keyed by LVIS's r, c, f or by category names (1 where nothing is given).
    """

    rule: Literal["uniform", "balanced", "present", "frequency", "weights"]
    weights: dict[str, Annotated[float, Field(ge=0)]] = {}

    @model_validator(mode="after")
    def _weights_used(self) -> "CategoryRuleSettings":
        if bool(self.weights) != (self.rule in ("frequency", "weights")):
            raise ValueError(f"rule={self.rule} {'takes no' if self.weights else 'needs'} weights")
        if self.rule == "frequency" and not set(self.weights) <= {"r", "c", "f"}:
            raise ValueError(f"weights of rule=frequency are for r, c and f, got {sorted(self.weights)}")
        return self


class SizeSettings(_Section):
    """How large an instance becomes.

    prior: the category's share of the image's side, drawn from `table` ("lvis" or a JSON file as
    `xpaste sizes fit` writes), clipped to [min_px, max_fraction], aspect ratio times `aspect_jitter`;
    object: `factor` times its own size; image: longer side `factor` times the image's shorter side;
    pixels: both sides in `pixels`, aspect ratio (width / height) moved into `aspect`, the longer side
    uniform over what that leaves; circle: `circle_factor` times what fills the free circle that
    `place.rule=space-maximize` finds.

    Cut-outs of a smaller box than `min_cutout_area_px` (in the pool) are skipped, and whatever would be
    pasted with a side below `min_side_px`, or as large as the canvas.
    """

    rule: Literal["prior", "object", "image", "pixels", "circle"]
    table: str = "lvis"  # X-Paste, stage G
    min_px: Annotated[float, Field(gt=0)] = 10.0  # X-Paste, stage G
    max_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5  # X-Paste, stage G
    aspect_jitter: PositiveRange = (0.8, 1.2)  # X-Paste, stage G
    factor: PositiveRange = (0.3, 1.0)  # EM-Paste, Random Paste
    circle_factor: FractionRange = (1.0, 1.0)  # EM-Paste, Algorithm 2: r1 / r2, no less
    pixels: PositiveRange = (32, 256)  # X-Paste's summary
    aspect: PositiveRange = (0.5, 2.0)  # X-Paste's summary
    min_side_px: PositiveInt = 5  # X-Paste, stage G
    min_cutout_area_px: Annotated[int, Field(ge=0)] = 0  # X-Paste has none; EM-Paste's presets say 700

    @model_validator(mode="after")
    def _pixels_reach_aspect(self) -> "SizeSettings":
        low, high = self.pixels
        if self.aspect[0] > high / low or self.aspect[1] < low / high:
            raise ValueError(
                f"no rectangle with both sides in pixels={list(self.pixels)} has an aspect ratio in "
                f"{list(self.aspect)}"
            )
        return self


class PlaceSettings(_Section):
    """Where. centre: its centre anywhere, parts outside are cut off; inside: wholly inside;
    space-maximize: at the centre of the largest free circle. By rule centre, a placement of which less
    than `min_inside_fraction` (of its rectangle) would lie inside is skipped."""

    rule: Literal["centre", "inside", "space-maximize"]
    min_inside_fraction: Fraction = 0.0  # X-Paste, stage H: none is too little


class ColourSettings(_Section):
    """jitter: largest change of brightness, contrast, saturation (factors) and hue (turns), applied
    with `probability`; match: how far brightness and contrast move toward the background's."""

    # X-Paste, stage H: off, and 0.2 each where it is on
    jitter: tuple[Fraction, Fraction, Fraction, Annotated[float, Field(ge=0, le=0.5)]] = (0, 0, 0, 0)
    probability: Fraction = 0.5  # X-Paste, stage H: ColorJitter's p
    match: tuple[Fraction, Fraction] = (0, 0)  # X-Paste has none; its summary's 0.2 is in that preset


class OcclusionSettings(_Section):
    """What stays labelled when something covers it, or the border cuts it off.

    visible-fraction: objects of which at least `min_visible_fraction` can still be seen; xpaste: whose
    box moved by 10 px at most, or of which more than 300 px remain. An empty mask never stays.
    """

    rule: Literal["visible-fraction", "xpaste"]
    min_visible_fraction: Fraction = 0.0  # ours: neither paper has such a rule; the presets choose


FormatName = Literal["coco", "lvis", "yolo", "voc", "webdataset", "parquet"]
ImageFormat = Literal["jpeg", "webp", "png"]
Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]


class OutputSettings(_Section):
    """What is written. polygons: COCO and LVIS masks as polygons instead of RLE; amodal: also the
    masks without occlusion; provenance: also everything known of a pasted instance's origin."""

    formats: tuple[FormatName, ...]
    image: ImageFormat = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    subsampling: Subsampling = "4:2:0"
    polygons: bool = False
    amodal: bool = False
    provenance: bool = False

    @field_validator("formats", mode="before")
    @classmethod
    def _one_format(cls, formats: Any) -> Any:
        return (formats,) if isinstance(formats, str) else formats

    @field_validator("formats")
    @classmethod
    def _each_once(cls, formats: tuple[FormatName, ...]) -> tuple[FormatName, ...]:
        if len(set(formats)) < len(formats):
            raise ValueError("must name each format once")
        return formats


Blend = Literal["hard", "alpha", "gaussian", "box", "box5", "motion", "poisson"]


class ComposeSettings(_Section):
    """`backgrounds` is "embedded:photos", a folder of images, a COCO or LVIS JSON file, a Parquet file or
    folder, or a colour ("black", "#808080"). background_images: where a JSON file's images are, if not
    beside it; background_column: the Parquet column that holds them.

    background_draw: `random`, or `in-turn`: sample i takes background i, and begins again after the last.
    copy_rule: `pool` instances, objects of another annotated background (`self`), `both`, or `p:x` (self
    with probability x, else pool). layout: `free`, or `reference`: the layout of another annotated
    background. draw: `instance`, or `source-image` (all instances that were cut from one image).
    mask_rate below 1 erodes masks, above 1 dilates them, by |rate - 1| of the shorter side.
    """

    backgrounds: str
    background_images: str | None = None
    background_column: str | None = None
    exclude_categories: tuple[str, ...] = ()
    count: PositiveInt
    samples_per_shard: PositiveInt
    background_draw: Literal["random", "in-turn"] = "random"  # ours; EM-Paste's code takes them in turn
    canvas: CanvasSettings
    instances: CountRange
    category: CategoryRuleSettings
    draw: Literal["instance", "source-image"] = "instance"  # X-Paste, stage F; source-image is EM-Paste's
    copy_rule: CopyRule = "pool"  # X-Paste, syn_copy
    layout: Literal["free", "reference"] = "free"  # X-Paste's shipped configurations
    size: SizeSettings
    place: PlaceSettings
    flip_probability: Fraction
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0  # X-Paste, stage H: off
    colour: ColourSettings = ColourSettings()
    blend: tuple[Blend, ...]
    mask_rate: Annotated[float, Field(ge=0.5, le=2)] = 1.0  # X-Paste: masks as they are
    occlusion: OcclusionSettings
    output: OutputSettings

    @field_validator("blend", mode="before")
    @classmethod
    def _one_blend(cls, blend: Any) -> Any:
        return (blend,) if isinstance(blend, str) else blend

    @model_validator(mode="after")
    def _rules_fit(self) -> "ComposeSettings":
        if (self.size.rule == "circle") != (self.place.rule == "space-maximize"):
            raise ValueError("size.rule=circle and place.rule=space-maximize need each other")
        if not self.blend:
            raise ValueError("blend needs at least one method")
        if not self.output.formats:
            raise ValueError("output.formats needs at least one format")
        return self


def _usable_share(gpus: float) -> float:
    """Shares of a GPU that Ray can pack: other fractions do not add up to a whole card on any node."""
    if gpus != int(gpus) and not (gpus < 1 and (8 * gpus).is_integer()):
        raise ValueError("must be eighths of a GPU (0.125, 0.25, 0.5, ...) or a whole number of them")
    return gpus


class StageResources(_Section):
    """One stage's actors. gpus, cpus and accelerator_type ("H100", as Ray names it) are for each actor;
    a stage whose actors have any GPU computes there, else on processors."""

    actors: PositiveInt
    gpus: Annotated[float, Field(ge=0), AfterValidator(_usable_share)] = 0.0
    cpus: Annotated[float, Field(gt=0)] = 0.1  # so little that the pools leave room for the tasks between
    accelerator_type: str | None = None

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"


class ComposeResources(_Section):
    actors: PositiveInt


_OF_UNION = "(fixed)", "(auto)"  # pydantic puts these into an error's location

StageChoice = Annotated[
    Annotated[StageResources, Tag(_OF_UNION[0])] | Annotated[Literal["auto"], Tag(_OF_UNION[1])],
    Discriminator(lambda value: _OF_UNION[isinstance(value, str)]),
]


class ResourceSettings(_Section):
    """How wide a run goes. Never part of a recipe. `auto`: as the cluster's processors and GPUs allow."""

    source: StageChoice
    segment: StageChoice
    score: StageChoice
    compose: ComposeResources


class DatasetSettings(_Section):
    """Everything that a dataset is composed by, beside its pool."""

    model_config = ConfigDict(extra="ignore")  # a preset may say how its pool is made, too

    seed: Annotated[int, Field(ge=0)]
    compose: ComposeSettings
    resources: ResourceSettings


class PoolSettings(_Section):
    """Everything that a pool is made from."""

    model_config = ConfigDict(extra="ignore")  # a preset may say what is composed of it, too

    seed: Annotated[int, Field(ge=0)]
    categories: CategorySettings
    prompts: PromptSettings
    source: SourceSettings
    segment: SegmentSettings
    score: ScoreSettings
    select: SelectSettings
    resources: ResourceSettings


class Settings(PoolSettings, DatasetSettings):
    """Everything that a whole run is made from, from category names to a dataset."""

    model_config = ConfigDict(extra="forbid")


_Job = TypeVar("_Job", bound=_Section)


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))


def preset_descriptions() -> dict[str, str]:
    """The first line of every preset, a comment, by the preset's name."""
    files = {name: PRESETS_DIR / f"{name}.yaml" for name in preset_names()}
    return {name: path.read_text(encoding="utf-8").split("\n")[0][2:] for name, path in files.items()}


def kind_of(preset: str) -> type[DatasetSettings] | type[PoolSettings]:
    """What a preset sets: a dataset only, a pool only, or both."""
    sections = set(_read(preset))
    for kind in (DatasetSettings, PoolSettings):
        if sections <= set(kind.model_fields):
            return kind
    return Settings


def load_settings(preset: str, overrides: Sequence[str] = ()) -> Settings:
    """Everything that a run is made from, see `load`."""
    return load(Settings, preset, overrides)


def load(
    kind: type[_Job],
    preset: str,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] = MappingProxyType({}),
) -> _Job:
    """A preset with `path.to.option=value` overrides applied, read as YAML, then `values` by path.

    preset: the name of one that ships, or the path of a YAML file, such as `dump_settings` makes, that
    ends in .yaml or .yml or has a slash in it. Relative paths in a file are relative to the working
    directory, not to the file.

    Raises ConfigError that names the field, what was given and what is allowed or near.
    """
    where = f"{preset}: " if _is_path(preset) else ""
    found = _validate(kind, _read(preset), where).model_dump(mode="json")  # with defaults: to be set, too
    for override in overrides:
        _set(found, *_parse(override))
    for path, value in values.items():
        _set(found, path, value)
    return _validate(kind, found)


def _is_path(preset: str) -> bool:
    return "/" in preset or preset.endswith((".yaml", ".yml"))


def _read(preset: str) -> dict[str, Any]:
    """The sections of a preset that ships or of a file; none that `Settings` does not know."""
    if not _is_path(preset) and preset not in preset_names():
        raise ConfigError(
            f"unknown preset {preset!r}{did_you_mean(preset, preset_names())} "
            "(to use a file of your own, give its path, which ends in .yaml or .yml or has a / in it)"
        )
    path = preset if _is_path(preset) else str(PRESETS_DIR / f"{preset}.yaml")
    try:
        values = load_yaml(locate(path).read_text())
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such settings file; `xpaste config show --preset demo` prints one to "
            "begin with"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path} is no YAML file: {error}") from None
    known = Settings.model_fields
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no settings: it needs sections, such as {', '.join(known)}")
    for name in values:
        if name not in known:
            raise ConfigError(f"{path}: there is no section {name!r}{did_you_mean(str(name), known)}")
    return values


def _validate(kind: type[_Job], values: Any, where: str = "") -> _Job:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        told = dict.fromkeys(where + _explain(detail) for detail in error.errors())
        raise ConfigError("\n".join(told)) from None


def dump_settings(settings: DatasetSettings | PoolSettings) -> str:
    """The settings as YAML, as a preset has them."""
    return dump_yaml(settings.model_dump(mode="json"))


def _parse(override: str) -> tuple[str, Any]:
    path, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override!r}: write it as path.to.option=value")
    try:
        return path.strip(), load_yaml(text)
    except ValueError:
        raise ConfigError(f"--set {override!r}: {text!r} is not a YAML value") from None


def _set(settings: dict[str, Any], path: str, value: Any) -> None:
    keys = path.split(".")
    node: Any = settings
    for depth, key in enumerate(keys):
        if not isinstance(node, dict) or key not in node:
            where = f"{'.'.join(keys[:depth])} has" if depth else "the settings have"
            hint = did_you_mean(key, node) if isinstance(node, dict) else ""
            raise ConfigError(f"unknown option {path!r}: {where} no {key!r}{hint}")
        if depth < len(keys) - 1:
            node = node[key]
    node[keys[-1]] = value


def _explain(detail: Any) -> str:
    """One of pydantic's errors, by what a settings file has: options, sections and lists."""
    loc, given = tuple(part for part in detail["loc"] if part not in _OF_UNION), detail["input"]
    match detail["type"]:
        case "missing" if len(loc) == 1:
            return f"{loc[0]}: the preset does not set it: choose one that does, such as 'demo'"
        case "missing" if isinstance(loc[-1], int):  # a list of fixed length that is too short
            loc, example = loc[:-1], _example(loc[:-1])
            message = f"needs {len(example)} values, such as {example}"
        case "missing":
            example = _example(loc)
            such_as = "" if isinstance(example, dict) else f", such as {loc[-1]}: {example}"
            return f"{_dotted(loc)} is missing: set it{such_as}"
        case "too_long":
            message = f"takes {detail['ctx']['max_length']} values, such as {_example(loc)}"
        case "tuple_type":
            message = f"must be a list, such as {_example(loc)}"
        case "model_type":
            message = "is a section: set its options, such as {option: value}"
        case "extra_forbidden":
            section = _example(loc[:-1])
            hint = did_you_mean(str(loc[-1]), section) if isinstance(section, dict) else ""
            return f"{_dotted(loc)}: there is no such option{hint}"
        case _:
            message = detail["msg"].removeprefix("Value error, ")
    return f"{_dotted(loc)}: {message}" + ("" if isinstance(given, dict) else f", got {_shown(given)}")


def _dotted(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc)) or "settings"


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else repr(value)


def _example(loc: tuple[int | str, ...]) -> Any:
    """What preset demo, which sets everything, has at `loc`."""
    value: Any = Settings.model_validate(_read("demo")).model_dump(mode="json")
    for key in loc:
        value = value.get(key) if isinstance(value, dict) else None
    return value
