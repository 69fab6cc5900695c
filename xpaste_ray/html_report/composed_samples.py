"""Some of the composed images, with what is annotated in them."""

from collections.abc import Mapping
from typing import Any

import cv2

from xpaste_ray.errors import ConfigError
from xpaste_ray.html_report.blocks import Gallery, Section, Shot
from xpaste_ray.html_report.given import Given
from xpaste_ray.html_report.pictures import photo_picture
from xpaste_ray.pool import Pool
from xpaste_ray.preview import draw_sample
from xpaste_ray.samples import Annotation, Sample

_SIDE_PX = 320
_MOST_TOLD = 40  # annotations of one image


def composed_samples(given: Given) -> Section | None:
    """None without a dataset."""
    composed = given.composed
    if composed is None:
        return None
    names = {category.id: category.name for category in composed.spec.categories}
    try:
        shots = [_shot(sample, data, names, given.pool) for sample, data in composed.images()]
    except OSError as error:
        raise ConfigError(f"{composed.folder}: an image is missing ({error}): compose it again") from None
    note = f"{len(shots)} of {composed.spec.count:,} images, drawn by key. A click tells of every object."
    return Section("images", "Composed images", (Gallery("Images", tuple(shots), size="large"),), note)


def _shot(sample: Sample, data: bytes, names: Mapping[int, str], pool: Pool | None) -> Shot:
    drawn = cv2.cvtColor(draw_sample(sample, data, names, _SIDE_PX), cv2.COLOR_BGR2RGB)
    told: dict[str, Any] = {
        "index": sample.index, "width": sample.width, "height": sample.height,
        "background": sample.background_id,
    }  # fmt: skip
    for number, one in enumerate(sample.annotations[:_MOST_TOLD], 1):
        told[f"object {number}"] = _object(one, names, pool)
    if len(sample.annotations) > _MOST_TOLD:
        told["more objects"] = len(sample.annotations) - _MOST_TOLD
    caption = f"image {sample.index} · {len(sample.annotations)} objects"
    return Shot(photo_picture(drawn, side_px=_SIDE_PX), caption, told)


def _object(one: Annotation, names: Mapping[int, str], pool: Pool | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "category": names[one.category_id], "from": one.origin, "source": one.source_id, "box_xywh": one.bbox,
        "area": one.area, "visible_fraction": one.visible_fraction, "z_order": one.z_order,
    }  # fmt: skip
    if one.provenance is not None:
        return told | dict(one.provenance)
    if one.origin == "pool" and pool is not None and one.source_id in pool.row_of_id:
        known = pool.provenance(pool.row_of_id[one.source_id])
        told |= {name: known[name] for name in ("text", "seed", "model", "uri", "licence", "clip_logit")}
    return {name: value for name, value in told.items() if value is not None}
