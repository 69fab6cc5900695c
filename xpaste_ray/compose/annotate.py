"""Reading the annotations off a painted image."""

from collections import Counter
from typing import Any

from xpaste_ray.compose.plan import PastePlan
from xpaste_ray.compose.render import Rendered
from xpaste_ray.masks import encode_rle, tight_box_xywh


def annotate(
    plan: PastePlan, rendered: Rendered, min_visible_fraction: float
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """COCO annotations (without ids) of what can be seen, bottom to top, and what was left out.

    Masks are the visible parts, so those of one image are disjoint. A placement of which nothing is
    left is `hidden`; one of which less than `min_visible_fraction` of its mask is left is `occluded`.
    annotations + left out = placements.
    """
    annotations: list[dict[str, Any]] = []
    left_out: Counter[str] = Counter()
    pairs = zip(plan.placements, rendered.full_areas, strict=True)
    for number, (placement, full_area) in enumerate(pairs, 1):
        mask = rendered.labels == number
        area = int(mask.sum())
        box = tight_box_xywh(mask)
        if box is None:
            left_out["hidden"] += 1
        elif area < min_visible_fraction * full_area:
            left_out["occluded"] += 1
        else:
            annotations.append(
                {
                    "category_id": placement.category_id,
                    "bbox": list(box),
                    "area": area,
                    "segmentation": encode_rle(mask),
                    "iscrowd": 0,
                    "instance_id": placement.instance_id,
                }
            )
    return annotations, left_out
