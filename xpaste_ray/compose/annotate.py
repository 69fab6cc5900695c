"""Reading the annotations off a painted plan: visible masks, tight boxes, areas."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import cv2
import numpy as np

from xpaste_ray.backgrounds import AnyBackgrounds, BackgroundAnnotation
from xpaste_ray.compose.federated import federated_lists
from xpaste_ray.compose.lookup import background_row
from xpaste_ray.compose.occlusion import STAYS
from xpaste_ray.compose.plan import PastePlan
from xpaste_ray.compose.render import Rendered
from xpaste_ray.compose.views import show_layers
from xpaste_ray.compose.visibility import Layer, visible_masks
from xpaste_ray.config import OcclusionSettings, OutputSettings
from xpaste_ray.masks import BoxXYWH, MaskShape, shape_of_part
from xpaste_ray.pool import Pool
from xpaste_ray.samples import Annotation, Origin, Sample


class _Object(NamedTuple):
    """One object before the occlusion rule.

    outside_area: pixels of its mask beyond the canvas. visible: (h, w) uint8, what is seen of its
    layer's mask.
    """

    category_id: int
    origin: Origin
    source_id: str
    iscrowd: int
    z_order: int
    layer: Layer
    outside_area: int
    visible: np.ndarray


class _Whole(NamedTuple):
    """The `Extent` of an object as if nothing covered it."""

    layer: Layer
    area: int

    @property
    def box_xywh(self) -> BoxXYWH:
        x, y, width, height = cv2.boundingRect(self.layer.mask)
        top, left = self.layer.top_left_yx
        return left + x, top + y, width, height


def annotate(
    plan: PastePlan,
    rendered: Rendered,
    pool: Pool | None,
    backgrounds: AnyBackgrounds,
    output: OutputSettings,
) -> tuple[Sample, Counter[str]]:
    """The sample's annotations, bottom to top, and what became of the others.

    Pasted masks are what can be seen of them, so they are disjoint; the background's own masks may
    overlap each other as they did before. ConfigError if the backgrounds are not the plan's.

    Every object that was painted or lies in the view's crop is either annotated or counted:
    `empty_mask`, nothing of it lies inside the image, or it shrank to nothing; `hidden`, nothing of it is
    left; `occluded`, too little by the rule; with `background_` before these for the background's own.
    """
    size_hw = rendered.image.shape[0], rendered.image.shape[1]
    annotations: list[Annotation] = []
    left_out: Counter[str] = Counter()
    remnants: set[int] = set()
    row = background_row(plan, plan.background_id, plan.view, backgrounds)
    for item in _objects(plan, rendered, backgrounds.annotations(row)):
        full, corner = item.layer
        inside_area = cv2.countNonZero(full) if full.size else 0
        whole_area = inside_area + item.outside_area
        visible = shape_of_part(item.visible, corner, size_hw)
        prefix = "background_" if item.origin == "background" else ""
        if not inside_area:
            left_out[f"{prefix}empty_mask"] += 1
            remnants |= {item.category_id} if _leaves_traces(item) else set()
        elif visible is None:
            left_out[f"{prefix}hidden"] += 1
        elif not _stays(item, whole_area, visible, plan.occlusion):
            left_out[f"{prefix}occluded"] += 1
            remnants.add(item.category_id)
        else:
            amodal = shape_of_part(full, corner, size_hw) if output.amodal else None
            annotations.append(_annotation(item, visible, visible.area / whole_area, amodal, pool, output))
    neg, not_exhaustive = federated_lists(backgrounds, row, annotations, remnants)
    sample = Sample(
        index=plan.sample,
        height=size_hw[0],
        width=size_hw[1],
        background_id=plan.background_id,
        annotations=tuple(annotations),
        neg_category_ids=neg,
        not_exhaustive_category_ids=not_exhaustive,
    )
    return sample, left_out


def _objects(plan: PastePlan, rendered: Rendered, own: tuple[BackgroundAnnotation, ...]) -> Iterator[_Object]:
    """Those of the background (`own`), then what was painted, in order."""
    below = list(show_layers(own, plan.view))
    above = [painted.layer for painted in rendered.painted]
    seen = iter(visible_masks([layer for _, layer in below], above))
    for annotation, layer in below:
        source = f"{plan.background_id}#{annotation.id}"
        crowd = annotation.iscrowd
        yield _Object(annotation.category_id, "background", source, crowd, 0, layer, 0, next(seen))
    for number, painted in enumerate(rendered.painted, 1):
        if painted.annotation is None:
            placement = plan.placements[number - 1]
            named: tuple[int, Origin, str] = (placement.category_id, "pool", placement.instance_id)
        elif plan.copied:
            source = f"{plan.copied.background_id}#{painted.annotation.id}"
            named = (painted.annotation.category_id, "copied", source)
        yield _Object(*named, 0, number, painted.layer, painted.outside_area, next(seen))


def _leaves_traces(item: _Object) -> bool:
    """Whether something of an object with an empty mask may be seen in the image.

    A background shrinks by averaging, and so do its objects; a cut-out is also painted where it is less
    than half opaque. A copied object is painted through its mask.
    """
    return item.origin == "background" or (item.origin == "pool" and item.layer.mask.size > 0)


def _stays(item: _Object, whole_area: int, visible: MaskShape, occlusion: OcclusionSettings) -> bool:
    if item.iscrowd or visible.area == whole_area:
        return True
    return STAYS[occlusion.rule](_Whole(item.layer, whole_area), visible, occlusion)


def _annotation(
    item: _Object,
    visible: MaskShape,
    visible_fraction: float,
    amodal: MaskShape | None,
    pool: Pool | None,
    output: OutputSettings,
) -> Annotation:
    provenance: Mapping[str, Any] | None = None
    if output.provenance and item.origin == "pool" and pool:
        provenance = pool.provenance(pool.row_of_id[item.source_id])
    return Annotation(
        category_id=item.category_id,
        segmentation=visible.rle,
        bbox=visible.box_xywh,
        area=visible.area,
        iscrowd=item.iscrowd,
        origin=item.origin,
        source_id=item.source_id,
        visible_fraction=visible_fraction,
        z_order=item.z_order,
        amodal=amodal.rle if amodal else None,
        provenance=provenance,
    )
