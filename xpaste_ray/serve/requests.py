"""What a client may send. Every model refuses what it does not know; the operator's ceilings come on top."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xpaste_ray.compose.plan import Colour, Copied, PastePlan, Placement, View
from xpaste_ray.config import Blend, OcclusionSettings

SIDE_PX = 8192  # the most that `compose` knows
_FAR_PX = 1_000_000
_DEEPEST = 5  # levels of options; those of `compose` have three

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[int, Field(ge=0, lt=2**53)]  # what a JSON reader of any language holds
Id = Annotated[str, Field(min_length=1, max_length=1024)]
Side = Annotated[int, Field(ge=1, le=SIDE_PX)]
Place = Annotated[int, Field(ge=-_FAR_PX, le=_FAR_PX)]
Factor = Annotated[float, Field(ge=0, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
Pair = tuple[Side, Side]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ComposeRequest(Body):
    """Samples `first` to `first + count - 1` of the endless row that seed, preset and options give."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"count": 2, "seed": 7},
                {"count": 2, "seed": 7, "size": 512, "options": {"instances": [1, 5], "blend": ["gaussian"]}},
            ]
        }
    )

    count: Annotated[int, Field(ge=1, le=4096, description="How many images.")] = 1
    seed: Annotated[Seed, Field(description="Another seed gives other images.")] = 0
    first: Annotated[Number, Field(description="The number of the first sample.")] = 0
    size: Annotated[
        Annotated[int, Field(ge=16, le=SIDE_PX)]
        | tuple[Annotated[int, Field(ge=16, le=SIDE_PX)], Annotated[int, Field(ge=16, le=SIDE_PX)]]
        | None,
        Field(description="Pixels of a side, or [height, width]; the preset's if not given."),
    ] = None
    preset: Annotated[
        str | None, Field(max_length=100, description="One of those that `GET /v1/pool` lists.")
    ] = None
    options: Annotated[
        dict[str, Any],
        Field(description="Options of `compose` as in a settings file, as far as the operator allows them."),
    ] = Field(default_factory=dict)
    categories: Annotated[
        tuple[Annotated[str, Field(max_length=200)], ...],
        Field(max_length=2000, description="Only these are pasted, by name; all, if none is named."),
    ] = ()
    pool_version: Annotated[
        str | None, Field(max_length=100, description="Answer by this version of the pool, or with 409.")
    ] = None

    @field_validator("options")
    @classmethod
    def _shallow(cls, options: dict[str, Any]) -> dict[str, Any]:
        level: list[Any] = [options]
        for _ in range(_DEEPEST):
            level = [inner for one in level for inner in _inside(one)]
        if level:
            raise ValueError("is nested too deeply")
        return options

    @property
    def size_hw(self) -> tuple[int, int] | None:
        return (self.size, self.size) if isinstance(self.size, int) else self.size


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


class ViewModel(Body):
    """What is seen of a background: `crop_xywh` (its pixels), resized to `size_hw`, then mirrored."""

    crop_xywh: tuple[
        Annotated[int, Field(ge=0, le=_FAR_PX)],
        Annotated[int, Field(ge=0, le=_FAR_PX)],
        Annotated[int, Field(ge=1, le=_FAR_PX)],
        Annotated[int, Field(ge=1, le=_FAR_PX)],
    ]
    size_hw: Pair
    flip: bool

    def view(self) -> View:
        return View(self.crop_xywh, self.size_hw, self.flip)


class MotionModel(Body):
    length_px: Literal[3, 5, 7, 9]
    direction_deg: Annotated[float, Field(ge=-360, le=360)]


class ColourModel(Body):
    brightness: Factor
    contrast: Factor
    saturation: Factor
    hue: Annotated[float, Field(ge=-1, le=1)]


class PlacementModel(Body):
    """Where and how one pool instance lands, in pixels of the image; it may hang over an edge."""

    instance_id: Id
    category_id: Annotated[int, Field(ge=-(2**62), lt=2**62)]
    size_hw: Pair
    top_left_yx: tuple[Place, Place]
    flip: bool = False
    angle_deg: Annotated[float, Field(ge=-360, le=360)] = 0.0
    blend: Blend = "alpha"
    motion: MotionModel | None = None
    colour: ColourModel | None = None

    def placement(self) -> Placement:
        motion, colour = self.motion, self.colour
        return Placement(
            self.instance_id,
            self.category_id,
            self.size_hw,
            self.top_left_yx,
            self.flip,
            self.angle_deg,
            self.blend,
            (motion.length_px, motion.direction_deg) if motion else None,
            Colour(colour.brightness, colour.contrast, colour.saturation, colour.hue) if colour else None,
        )


class CopiedModel(Body):
    """Objects of another annotated background, pasted at their own places in its view, on top."""

    background_id: Id
    view: ViewModel
    annotation_ids: Annotated[
        tuple[Annotated[int, Field(ge=-(2**62), lt=2**62)], ...], Field(max_length=1000)
    ]


class PlanModel(Body):
    """One image, decided: what `POST /v1/plans` answers and `POST /v1/render` takes."""

    sample: Number = 0
    background_id: Id
    view: ViewModel
    canvas_hw: Pair
    placements: Annotated[tuple[PlacementModel, ...], Field(max_length=10_000)]
    copied: CopiedModel | None = None
    match: tuple[Share, Share] = (0.0, 0.0)
    mask_rate: Annotated[float, Field(ge=0.5, le=2)] = 1.0
    occlusion: OcclusionSettings = OcclusionSettings(rule="visible-fraction", min_visible_fraction=0.0)
    skipped: Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(max_length=10_000)] = ()

    @model_validator(mode="after")
    def _view_inside(self) -> "PlanModel":
        copied = self.copied.view.size_hw if self.copied else (0, 0)
        for seen in (self.view.size_hw, copied):
            if seen[0] > self.canvas_hw[0] or seen[1] > self.canvas_hw[1]:
                raise ValueError("canvas_hw must be as large as the views")
        return self

    def plan(self) -> PastePlan:
        copied = self.copied
        return PastePlan(
            sample=self.sample,
            background_id=self.background_id,
            view=self.view.view(),
            canvas_hw=self.canvas_hw,
            placements=tuple(one.placement() for one in self.placements),
            copied=Copied(copied.background_id, copied.view.view(), copied.annotation_ids)
            if copied
            else None,
            match=self.match,
            mask_rate=self.mask_rate,
            occlusion=self.occlusion,
            skipped=self.skipped,
        )


class RenderRequest(Body):
    plan: PlanModel
    pool_version: Annotated[str | None, Field(max_length=100)] = None
