"""How a dataset is composed."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from xpaste_ray.config.base import Fraction, PositiveInt, Section


def _copy_rule(rule: str) -> str:
    """p:.5 is p:0.5."""
    if rule not in ("none", "pool", "self", "both") and not re.fullmatch(r"p:(0?\.\d+|0|1(\.0+)?)", rule):
        raise ValueError("must be none, pool, self, both or p:x with x from 0 to 1, such as p:0.5")
    return rule.replace("p:.", "p:0.")


CopyRule = Annotated[str, AfterValidator(_copy_rule)]


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


class CanvasSettings(Section):
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


class CategoryRuleSettings(Section):
    """Which category is drawn. uniform: over instances; balanced: category, then instance; present:
    balanced over those in the background (over all where it has none of the pool's); frequency and
    weights: by `weights`, keyed by LVIS's r, c, f or by category names (1 where nothing is given).
    """

    rule: Literal["uniform", "balanced", "present", "frequency", "weights"]
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _weights_used(self) -> "CategoryRuleSettings":
        if bool(self.weights) != (self.rule in ("frequency", "weights")):
            raise ValueError(f"rule={self.rule} {'takes no' if self.weights else 'needs'} weights")
        if self.rule == "frequency" and not set(self.weights) <= {"r", "c", "f"}:
            raise ValueError(f"weights of rule=frequency are for r, c and f, got {sorted(self.weights)}")
        return self


class SizeSettings(Section):
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


class PlaceSettings(Section):
    """Where. centre: its centre anywhere, parts outside are cut off; inside: wholly inside;
    space-maximize: at the centre of the largest free circle. By rule centre, a placement of which less
    than `min_inside_fraction` (of its rectangle) would lie inside is skipped."""

    rule: Literal["centre", "inside", "space-maximize"]
    min_inside_fraction: Fraction = 0.0  # X-Paste, stage H: none is too little


class ColourSettings(Section):
    """jitter: largest change of brightness, contrast, saturation (factors) and hue (turns), applied
    with `probability`; match: how far brightness and contrast move toward the background's."""

    # X-Paste, stage H: off, and 0.2 each where it is on
    jitter: tuple[Fraction, Fraction, Fraction, Annotated[float, Field(ge=0, le=0.5)]] = (0, 0, 0, 0)
    probability: Fraction = 0.5  # X-Paste, stage H: ColorJitter's p
    match: tuple[Fraction, Fraction] = (0, 0)  # X-Paste has none; its summary's 0.2 is in that preset


class OcclusionSettings(Section):
    """What stays labelled when something covers it, or the border cuts it off.

    visible-fraction: objects of which at least `min_visible_fraction` can still be seen; xpaste: whose
    box moved by 10 px at most, or of which more than 300 px remain. An empty mask never stays.
    """

    rule: Literal["visible-fraction", "xpaste"]
    min_visible_fraction: Fraction = 0.0  # ours: neither paper has such a rule; the presets choose


FormatName = Literal["coco", "lvis", "yolo", "voc", "webdataset", "parquet"]
ImageFormat = Literal["jpeg", "webp", "png"]
Subsampling = Literal["4:2:0", "4:2:2", "4:4:4"]


class OutputSettings(Section):
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


class ComposeSettings(Section):
    """`backgrounds` is "embedded:photos", a folder of images, a COCO or LVIS JSON file, a Parquet file or
    folder, or a colour ("black", "#808080"). background_images: where a JSON file's images are, if not
    beside it; background_column: the Parquet column that holds them.

    background_draw: `random`, or `in-turn`: sample i takes background i, and begins again after the last.
    contexts: other images to paste on, without annotations (EM-Paste, section 3.2): a run of `xpaste
    contexts`, a folder, or a colour. mix: how many originals (`backgrounds`) are taken for how many contexts;
    mix_by `image`: how often each original for how often each context, so that their numbers count, too.
    categories: only these of the pool's are pasted, by name; all, if none is named.
    copy_rule: `pool` instances, objects of another annotated background (`self`), `both`, `p:x` (self with
    probability x, else pool), or `none`: the background as it is. layout: `free`, or `reference`: the layout
    of another annotated background. draw: `instance`, or `source-image` (all instances that were cut from one
    image).
    mask_rate below 1 erodes masks, above 1 dilates them, by |rate - 1| of the shorter side.
    """

    backgrounds: str
    background_images: str | None = None
    background_column: str | None = None
    contexts: str | None = None
    mix: tuple[PositiveInt, PositiveInt] = (2, 1)  # EM-Paste, section 3.2: originals are duplicated twice
    mix_by: Literal["source", "image"] = "source"  # ours; EM-Paste's presets say image
    exclude_categories: tuple[str, ...] = ()
    count: PositiveInt
    samples_per_shard: PositiveInt
    background_draw: Literal["random", "in-turn"] = "random"  # ours; EM-Paste's code takes them in turn
    canvas: CanvasSettings
    instances: CountRange
    category: CategoryRuleSettings
    categories: tuple[str, ...] = ()
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

    @property
    def needs_pool(self) -> bool:
        """Whether instances of a pool may be pasted."""
        return self.copy_rule not in ("none", "self")

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
