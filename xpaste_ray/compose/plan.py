"""The full decision for one composed image, as data.

A plan can be stored, inspected and rendered again. Only planning draws random numbers.
"""

from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from xpaste_ray.config import Blend, OcclusionSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.masks import BoxXYWH

SizeHW = tuple[int, int]

ANYTHING_VISIBLE = OcclusionSettings(rule="visible-fraction", min_visible_fraction=0.0)
"""The rule by which everything of which a pixel is seen stays."""


@dataclass(frozen=True, slots=True)
class View:
    """What is seen of a background: `crop_xywh` (its pixels), resized to `size_hw`, then mirrored."""

    crop_xywh: BoxXYWH
    size_hw: SizeHW
    flip: bool


@dataclass(frozen=True, slots=True)
class Colour:
    """Factors of brightness, contrast and saturation (1 changes nothing), and a turn of the hue."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how one pool instance lands, in pixels of the composed image; it may hang over an edge.

    It is resized to `size_hw`, mirrored if `flip`, turned counter-clockwise by `angle_deg` about its
    middle, and the rectangle around it all then has its corner at `top_left_yx`. `motion` is the length
    (px) and direction (degrees) of blend "motion".
    """

    instance_id: str
    category_id: int
    size_hw: SizeHW
    top_left_yx: tuple[int, int]
    flip: bool = False
    angle_deg: float = 0.0
    blend: Blend = "alpha"
    motion: tuple[int, float] | None = None
    colour: Colour | None = None


@dataclass(frozen=True, slots=True)
class Copied:
    """Objects of another annotated background, pasted at their own places in its view, on top."""

    background_id: str
    view: View
    annotation_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PastePlan:
    """The background's view fills the canvas from its top left corner; what is left is black.

    Placements are painted in order, the last one on top. `match`, `mask_rate` and `occlusion` are the
    settings of that name. `skipped` holds the reason of every drawn instance that could not be placed.
    """

    sample: int
    background_id: str
    view: View
    canvas_hw: SizeHW
    placements: tuple[Placement, ...]
    copied: Copied | None = None
    match: tuple[float, float] = (0.0, 0.0)
    mask_rate: float = 1.0
    occlusion: OcclusionSettings = ANYTHING_VISIBLE
    skipped: tuple[str, ...] = ()


_PAIR = pa.list_(pa.int32(), 2)
_VIEW = pa.struct([("crop_xywh", pa.list_(pa.int32(), 4)), ("size_hw", _PAIR), ("flip", pa.bool_())])
_COLOUR = pa.struct([(field.name, pa.float64()) for field in fields(Colour)])
_PLACEMENT = pa.struct(
    [
        ("instance_id", pa.string()),
        ("category_id", pa.int64()),
        ("size_hw", _PAIR),
        ("top_left_yx", _PAIR),
        ("flip", pa.bool_()),
        ("angle_deg", pa.float64()),
        ("blend", pa.string()),
        ("motion", pa.struct([("length_px", pa.int32()), ("direction_deg", pa.float64())])),
        ("colour", _COLOUR),
    ]
)
PLANS = pa.schema(
    [
        ("sample", pa.int64()),
        ("background_id", pa.string()),
        ("view", _VIEW),
        ("canvas_hw", _PAIR),
        ("placements", pa.list_(_PLACEMENT)),
        (
            "copied",
            pa.struct(
                [
                    ("background_id", pa.string()),
                    ("view", _VIEW),
                    ("annotation_ids", pa.list_(pa.int64())),
                ]
            ),
        ),
        ("match", pa.list_(pa.float64(), 2)),
        ("mask_rate", pa.float64()),
        ("occlusion", pa.struct([("rule", pa.string()), ("min_visible_fraction", pa.float64())])),
        ("skipped", pa.list_(pa.string())),
    ]
)


def plan_to_row(plan: PastePlan) -> dict[str, Any]:
    """A row of `PLANS`."""
    copied = plan.copied
    return _fields(plan) | {
        "view": _fields(plan.view),
        "placements": [_placement_row(placement) for placement in plan.placements],
        "copied": copied and _fields(copied) | {"view": _fields(copied.view)},
        "occlusion": plan.occlusion.model_dump(),
    }


def _placement_row(placement: Placement) -> dict[str, Any]:
    motion, colour = placement.motion, placement.colour
    return _fields(placement) | {
        "motion": motion and dict(zip(("length_px", "direction_deg"), motion, strict=True)),
        "colour": colour and _fields(colour),
    }


def _fields(one: Any) -> dict[str, Any]:
    """As `asdict`, of which it takes a tenth of the time, but without what is in them."""
    return {name: getattr(one, name) for name in one.__slots__}


def plan_from_row(row: dict[str, Any]) -> PastePlan:
    """The inverse of `plan_to_row`, also after a round trip through Parquet.

    ConfigError if an earlier version wrote it.
    """
    copied = row["copied"]
    if not row["occlusion"]:
        raise ConfigError(
            f"the plan of sample {row['sample']} lacks the occlusion rule, an earlier version wrote it: "
            "write the plans again with --plans-only"
        )
    return PastePlan(
        **{
            **row,
            "view": _view(row["view"]),
            "canvas_hw": tuple(row["canvas_hw"]),
            "placements": tuple(map(_placement, row["placements"])),
            "copied": copied
            and Copied(copied["background_id"], _view(copied["view"]), tuple(copied["annotation_ids"])),
            "match": tuple(row["match"]),
            "occlusion": OcclusionSettings(**row["occlusion"]),
            "skipped": tuple(row["skipped"]),
        }
    )


def _view(row: dict[str, Any]) -> View:
    return View(tuple(row["crop_xywh"]), tuple(row["size_hw"]), row["flip"])


def _placement(row: dict[str, Any]) -> Placement:
    motion, colour = row["motion"], row["colour"]
    return Placement(
        **{
            **row,
            "size_hw": tuple(row["size_hw"]),
            "top_left_yx": tuple(row["top_left_yx"]),
            "motion": motion and (motion["length_px"], motion["direction_deg"]),
            "colour": colour and Colour(**colour),
        }
    )
