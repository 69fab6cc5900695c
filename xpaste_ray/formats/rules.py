"""Rules that every sample of a dataset keeps: what trainers and COCO's own tools rely on."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from xpaste_ray.errors import RowError
from xpaste_ray.formats.findings import Finding
from xpaste_ray.formats.images import checked_size_hw
from xpaste_ray.formats.rle import rle_runs
from xpaste_ray.formats.shards import Polygons
from xpaste_ray.samples import Annotation, Sample

Broken = tuple[str, str]  # rule and text


def check_sample_image(source: Path | bytes, name: str, sample: Sample) -> Iterator[Finding]:
    """`check_image` for a sample of ours."""
    return check_image(source, name, sample.index + 1, (sample.height, sample.width))


def check_image(
    source: Path | bytes, name: str, image_id: int | str | None, size_hw: tuple[int, int]
) -> Iterator[Finding]:
    """The image is there, decodes to its last pixel, and its size is the record's."""
    try:
        found = checked_size_hw(source if isinstance(source, bytes) else source.read_bytes())
    except FileNotFoundError:
        yield Finding(rule="image_missing", text=f"{name} is missing", image_id=image_id)
    except (OSError, RowError) as error:
        rule, text = _unreadable(error)
        yield Finding(rule=rule, text=f"{name} {text}", image_id=image_id)
    else:
        if found != size_hw:
            text = f"{name} is {found[1]} x {found[0]}, its record says {size_hw[1]} x {size_hw[0]}"
            yield Finding(rule="image_size", text=text, image_id=image_id)


def _unreadable(error: OSError | RowError) -> Broken:
    if isinstance(error, RowError):
        if error.reason == "truncated":
            return "image_truncated", "ends before its last pixel"
        return "image_unreadable", f"is not a readable JPEG, PNG or WebP image ({error})"
    return "image_unreadable", f"cannot be read ({error.strerror})"


def check_sample(
    sample: Sample, first_annotation_id: int, category_ids: set[int], polygons: Polygons | None
) -> Iterator[Finding]:
    """Every rule on one sample's annotations. Annotation ids count on from `first_annotation_id`."""
    image_id = sample.index + 1
    size_hw = (sample.height, sample.width)
    good: list[tuple[int, Annotation]] = []
    for annotation_id, annotation in enumerate(sample.annotations, first_annotation_id):
        broken = list(broken_annotation(annotation, size_hw, category_ids))
        if not broken:
            good.append((annotation_id, annotation))
        for rule, text in broken:
            yield Finding(rule=rule, text=text, image_id=image_id, annotation_id=annotation_id)
    yield from _check_overlap(image_id, [pair for pair in good if pair[1].origin != "background"])
    if polygons is not None:
        ids = {annotation_id for annotation_id, _ in good}
        for annotation_id, (annotation, rings) in enumerate(
            zip(sample.annotations, polygons, strict=True), first_annotation_id
        ):
            for rule, text in _broken_rings(annotation, rings) if annotation_id in ids else ():
                yield Finding(rule=rule, text=text, image_id=image_id, annotation_id=annotation_id)
    annotated = {annotation.category_id for annotation in sample.annotations}
    lists = sample.neg_category_ids or (), sample.not_exhaustive_category_ids or ()
    for rule, text in broken_lists(*lists, annotated, category_ids):
        yield Finding(rule=rule, text=text, image_id=image_id)


def broken_annotation(
    annotation: Annotation, size_hw: tuple[int, int], category_ids: set[int]
) -> Iterator[Broken]:
    """What is wrong with one annotation by itself."""
    yield from broken_box(annotation.bbox, annotation.area, size_hw)
    if annotation.category_id not in category_ids:
        yield "category_unknown", f"category {annotation.category_id} is not in the dataset's list"
    if annotation.iscrowd not in (0, 1):
        yield "iscrowd", f"iscrowd is {annotation.iscrowd!r}, not 0 or 1"
    if not 0 < annotation.visible_fraction <= 1:
        yield "visible_fraction", f"visible fraction {annotation.visible_fraction} is not in (0, 1]"
    broken = broken_rle(annotation.segmentation, size_hw)
    if broken:
        yield broken
        return
    area = int(coco_mask.area(annotation.segmentation))
    box = tuple(int(side) for side in coco_mask.toBbox(annotation.segmentation))
    if area != annotation.area:
        yield "area_differs", f"area {annotation.area} is not the mask's, {area}"
    if box != annotation.bbox:
        yield "box_differs", f"box {list(annotation.bbox)} is not the mask's, {list(box)}"
    if annotation.amodal is not None:
        yield from _broken_amodal(annotation.amodal, annotation.segmentation, size_hw)


def broken_box(
    box_xywh: Any, area: Any, size_hw: tuple[int, int], tolerance_px: float = 0
) -> Iterator[Broken]:
    """Boxes have an extent and lie inside the image; areas are positive."""
    if not isinstance(box_xywh, list | tuple) or len(box_xywh) != 4 or not _are_numbers([*box_xywh, area]):
        yield "box_damaged", f"box {box_xywh!r} or area {area!r} is not made of finite numbers"
        return
    left, top, width, height = box_xywh
    if not area > 0:
        yield "area_not_positive", f"area is {area}"
    if not (width > 0 and height > 0):
        yield "box_empty", f"box {list(box_xywh)} has no extent"
    right, bottom = size_hw[1] + tolerance_px, size_hw[0] + tolerance_px
    if min(left, top) < -tolerance_px or left + width > right or top + height > bottom:
        yield "box_outside", f"box {list(box_xywh)} leaves the image of {size_hw[1]} x {size_hw[0]}"


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def broken_rle(segmentation: Any, size_hw: tuple[int, int]) -> Broken | None:
    """A compressed RLE of the image's size that covers it with runs, none of them empty but the first.

    Looked at before COCO's library is: it is written in C and takes what it is given.
    """
    if segmentation is None:
        return "rle_damaged", "mask is missing (there is no segmentation)"
    if not isinstance(segmentation, dict):
        return "rle_damaged", "mask is neither a list of polygons nor RLE with size and counts"
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list | tuple) or not isinstance(counts, str | bytes):
        return "rle_damaged", "mask has no size (height, width) or no counts"
    try:
        runs = rle_runs(counts)
    except ValueError as error:
        return "rle_damaged", f"mask is not compressed RLE: {error}"
    size = list(size)
    if size != list(size_hw):
        return "rle_size", f"mask is {size}, the image is {list(size_hw)} (height, width)"
    if runs.min(initial=0) < 0 or int(runs.sum()) != size[0] * size[1]:
        return "rle_damaged", f"mask's runs do not add up to {size[0]} x {size[1]} pixels"
    if (runs[1:] == 0).any():
        return "rle_zero_run", "mask has a run of no pixels"
    return None


def _broken_amodal(amodal: Any, visible: dict[str, Any], size_hw: tuple[int, int]) -> Iterator[Broken]:
    broken = broken_rle(amodal, size_hw)
    if broken:
        yield f"amodal_{broken[0]}", f"amodal {broken[1]}"
    elif coco_mask.area(coco_mask.merge([amodal, visible], intersect=True)) != coco_mask.area(visible):
        yield "amodal_smaller", "the amodal mask does not cover the visible one"


def _check_overlap(image_id: int, pasted: list[tuple[int, Annotation]]) -> Iterator[Finding]:
    """Visible masks of pasted objects are disjoint: their union is as large as their sum."""
    masks = [annotation.segmentation for _, annotation in pasted]
    if not masks or int(coco_mask.area(coco_mask.merge(masks))) == sum(a.area for _, a in pasted):
        return
    for position, (annotation_id, annotation) in enumerate(pasted):
        others = masks[:position]
        if others and coco_mask.area(
            coco_mask.merge([coco_mask.merge(others), annotation.segmentation], intersect=True)
        ):
            text = "visible mask overlaps that of an object pasted before"
            yield Finding(rule="masks_overlap", text=text, image_id=image_id, annotation_id=annotation_id)


def _broken_rings(annotation: Annotation, rings: list[list[int]] | None) -> Iterator[Broken]:
    """Polygons give the mask again; crowds have none."""
    if rings is None:
        if not annotation.iscrowd:
            yield "polygon_missing", "an object that is no crowd has no polygons"
        return
    height, width = annotation.segmentation["size"]
    broken = broken_polygons(rings, (height, width))
    if broken:
        yield broken
        return
    drawn = coco_mask.merge(coco_mask.frPyObjects(rings, height, width))
    if drawn["counts"].decode("ascii") != annotation.segmentation["counts"]:
        yield "polygon_differs", "polygons are not the outline of the mask"


def broken_polygons(rings: Any, size_hw: tuple[int, int]) -> Broken | None:
    """Polygons are a list of flat lists of at least 3 points, in the image or at most a pixel outside.

    Looked at before COCO's library is: what it allocates grows with a polygon's length in pixels.
    """
    if not isinstance(rings, list) or not rings:
        return "polygon_damaged", "segmentation has no polygon"
    for ring in rings:
        if not isinstance(ring, list) or not _are_numbers(ring) or len(ring) < 6 or len(ring) % 2:
            return "polygon_damaged", "a polygon is not a list of 3 or more x, y"
        if min(ring) < -1 or max(ring[::2]) > size_hw[1] + 1 or max(ring[1::2]) > size_hw[0] + 1:
            return "polygon_outside", "a polygon leaves the image"
    return None


def broken_lists(
    negative: Sequence[int], not_exhaustive: Sequence[int], annotated: set[int], category_ids: set[int]
) -> Iterator[Broken]:
    """LVIS's lists: what is verified absent is not annotated, and both name known categories."""
    lists = {"neg_category_ids": negative, "not_exhaustive_category_ids": not_exhaustive}
    for name, ids in lists.items():
        if not isinstance(ids, list | tuple) or not all(isinstance(one, int | str) for one in ids):
            yield "list_damaged", f"{name} is not a list of category ids"
            return
    wrong = sorted(annotated.intersection(negative), key=str)
    if wrong:
        yield "neg_category_annotated", f"categories {wrong} are annotated and in neg_category_ids"
    for name, ids in lists.items():
        unknown = sorted(set(ids) - category_ids, key=str)
        if unknown:
            yield "category_unknown", f"{name} has {unknown}, which are not in the dataset's list"
