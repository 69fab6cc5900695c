"""Composed samples as data: what annotating a painted plan gives, and formats write.

Everything is in pixels of the composed image; masks are COCO's compressed RLE.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xpaste_ray.masks import BoxXYWH

Origin = Literal["pool", "copied", "background"]
"""Pasted from the pool, copied from another annotated background, or of the background itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One object of a sample: its visible mask, and where it comes from.

    `visible_fraction` is visible area / area of the whole mask: of a pool instance also what lies outside
    the image, of other objects what the background's view shows of them. `z_order` counts from the bottom and
    the background's own objects have 0. `source_id` is the pool's instance id, or
    "<background id>#<annotation id>". `amodal` and `provenance` are there only if they were asked for.
    """

    category_id: int
    segmentation: dict[str, Any]  # {"size": [H, W], "counts": str}
    bbox: BoxXYWH
    area: int
    iscrowd: int
    origin: Origin
    source_id: str
    visible_fraction: float
    z_order: int
    amodal: dict[str, Any] | None = None
    provenance: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One composed image and its annotations, bottom to top.

    The two lists of category ids are LVIS's: verified absent (None if the background is not LVIS's), and
    present but perhaps not every one annotated (None if nobody asked).
    """

    index: int
    height: int
    width: int
    background_id: str
    annotations: tuple[Annotation, ...]
    neg_category_ids: tuple[int, ...] | None = None
    not_exhaustive_category_ids: tuple[int, ...] | None = None


def sample_to_json(sample: Sample) -> dict[str, Any]:
    """Plain JSON, without what is None. (`asdict` would copy every value deeply, at the cost of the rest.)"""
    value = _fields(sample)
    value["annotations"] = [_fields(annotation) for annotation in sample.annotations]
    return value


def sample_from_json(value: Mapping[str, Any]) -> Sample:
    """The inverse of `sample_to_json`, also after a round trip through JSON text."""
    fields = dict(value)
    for name in ("neg_category_ids", "not_exhaustive_category_ids"):
        if name in fields:
            fields[name] = tuple(fields[name])
    annotations = [{**entry, "bbox": tuple(entry["bbox"])} for entry in value["annotations"]]
    return Sample(**{**fields, "annotations": tuple(Annotation(**entry) for entry in annotations)})


def _fields(record: Sample | Annotation) -> dict[str, Any]:
    values = ((name, getattr(record, name)) for name in record.__slots__)
    return {name: value for name, value in values if value is not None}
