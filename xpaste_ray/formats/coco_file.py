"""Checking a COCO or LVIS file that somebody else made, with its images.

What breaks a trainer is an error. A warning is what only differs from COCO's own measure of the mask:
published files measure areas and boxes on polygons, in fractions of a pixel.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from xpaste_ray.backgrounds.dataset import (
    find_images,
    image_roots,
    is_inside,
    name_of_image,
    not_found_in,
    path_in_root,
)
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.findings import Finding, Progress, Report, Severity
from xpaste_ray.formats.rules import broken_box, broken_lists, broken_polygons, broken_rle, check_image
from xpaste_ray.runs import read_json

_TOLERANCE_PX = 1.0

Entry = dict[str, Any]
Broken = tuple[Severity, str, str]


def check_file(file: Path, image_folder: Path | None, report: Report, progress: Progress) -> None:
    """Check a COCO or LVIS file. ConfigError if it is none."""
    value = read_json(file)
    images, annotations, categories = (
        _entries(file, value, key) for key in ("images", "annotations", "categories")
    )
    report.images, report.annotations = len(images), len(annotations)
    for entries, noun in ((images, "image"), (annotations, "annotation"), (categories, "category")):
        report.add(_check_ids(entries, noun))
    category_ids: set[Any] = {_id(category) for category in categories} - {None}
    annotated: dict[Any, set[Any]] = {_id(image): set() for image in images}
    sizes_hw = {_id(image): _size_hw(image) for image in images}
    for annotation in annotations:
        image_id = _id(annotation, "image_id")
        if image_id in annotated:
            annotated[image_id].add(_id(annotation, "category_id"))
        for severity, rule, text in _broken_annotation(annotation, sizes_hw, category_ids):
            report.add([_finding(rule, text, image_id, _id(annotation), severity)])
    roots = image_roots(file, image_folder)
    found = find_images(roots, filter(None, map(name_of_image, images)))
    if images and found is None:
        report.remedies.append(not_found_in(roots, file))
    for image in images:
        report.add(_check_image(image, *(found or (roots[0], False))))
        lists = image.get("neg_category_ids") or (), image.get("not_exhaustive_category_ids") or ()
        for rule, text in broken_lists(*lists, annotated[_id(image)], category_ids):
            report.add([_finding(rule, text, _id(image))])
        progress("images", 1)


def _finding(
    rule: str, text: str, image_id: Any, annotation_id: Any = None, severity: Severity = "error"
) -> Finding:
    return Finding(rule=rule, text=text, image_id=image_id, annotation_id=annotation_id, severity=severity)


def _entries(file: Path, value: Entry, key: str) -> list[Entry]:
    entries = value.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(
            f"{file} is no COCO or LVIS file: it has no list of objects {key!r}; give a dataset's folder or "
            "such a file"
        )
    return entries


def _id(entry: Entry, key: str = "id") -> int | str | None:
    value = entry.get(key)
    return value if isinstance(value, int | str) else None


def _check_ids(entries: list[Entry], noun: str) -> Iterator[Finding]:
    """Every entry has an id of its own."""
    for entry_id, times in Counter(map(_id, entries)).items():
        if entry_id is None:
            yield Finding(rule=f"{noun}_id_missing", text=f"{times} entries have no {noun} id")
        elif times > 1:
            yield Finding(
                rule=f"{noun}_id_twice",
                text=f"{noun} id {entry_id} is there {times} times",
                image_id=entry_id if noun == "image" else None,
                annotation_id=entry_id if noun == "annotation" else None,
            )


def _size_hw(image: Entry) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    return None


def _check_image(image: Entry, root: Path, by_last_part: bool) -> Iterator[Finding]:
    image_id, name, size_hw = _id(image), name_of_image(image), _size_hw(image)
    if size_hw is None:
        yield _finding("image_size", "image has no height and width above 0", image_id)
    if not name:
        yield _finding("image_missing", "image has no file name", image_id)
    elif not is_inside(name):
        yield _finding("image_missing", f"{name!r} leaves the folder of the images", image_id)
    elif size_hw is not None:
        yield from check_image(root / path_in_root(name, by_last_part), name, image_id, size_hw)


def _broken_annotation(
    annotation: Entry, sizes_hw: dict[Any, tuple[int, int] | None], category_ids: set[Any]
) -> Iterator[Broken]:
    if _id(annotation, "category_id") not in category_ids:
        yield "error", "category_unknown", f"category {annotation.get('category_id')!r} is not in the list"
    if annotation.get("iscrowd", 0) not in (0, 1):
        yield "error", "iscrowd", f"iscrowd is {annotation['iscrowd']!r}, not 0 or 1"
    if _id(annotation, "image_id") not in sizes_hw:
        yield "error", "image_unknown", f"image {annotation.get('image_id')!r} is not in the list"
        return
    size_hw = sizes_hw[_id(annotation, "image_id")]
    if size_hw is None:
        return  # named with the image
    box, area = annotation.get("bbox"), annotation.get("area")
    broken = list(broken_box(box, area, size_hw, _TOLERANCE_PX))
    yield from (("error", rule, text) for rule, text in broken)
    yield from _broken_mask(annotation.get("segmentation"), None if broken else (box, area), size_hw)


def _broken_mask(
    segmentation: Any, box_and_area: tuple[Any, Any] | None, size_hw: tuple[int, int]
) -> Iterator[Broken]:
    """The mask can be drawn and is not empty; its measures are about the annotation's, if those are good."""
    polygons = isinstance(segmentation, list)
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list):
        try:
            segmentation = _compressed(segmentation)
        except ValueError as error:
            yield "error", "rle_damaged", f"mask is not RLE: {error}"
            return
    broken = broken_polygons(segmentation, size_hw) if polygons else broken_rle(segmentation, size_hw)
    if broken:
        yield "error", *broken
        return
    rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size_hw)) if polygons else segmentation
    mask_area, mask_box = float(coco_mask.area(rle)), coco_mask.toBbox(rle)
    if not mask_area:
        yield "error", "polygon_empty" if polygons else "mask_empty", "mask has no pixel"
    elif box_and_area:
        box, area = box_and_area
        if (
            max(abs(a - b) for a, b in zip(_corners(box), _corners(mask_box), strict=True))
            > 1 + _TOLERANCE_PX
        ):
            drawn = [float(side) for side in mask_box]
            yield "warning", "box_differs", f"box {box} is not the mask's, {drawn}"
        if not polygons and abs(area - mask_area) > 0.5:
            yield "warning", "area_differs", f"area {area} is not the mask's, {mask_area:.0f}"


def _corners(box_xywh: Any) -> tuple[float, float, float, float]:
    left, top, width, height = (float(side) for side in box_xywh)
    return left, top, left + width, top + height


def _compressed(rle: Entry) -> Entry:
    """Uncompressed RLE, checked and compressed; ValueError if its runs are not those of its size."""
    size, counts = rle.get("size"), rle["counts"]
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise ValueError("it has no size (height, width)")
    height, width = size
    if not all(isinstance(run, int) and run >= 0 for run in counts) or sum(counts) != height * width:
        raise ValueError(f"its runs do not add up to {height} x {width} pixels")
    compressed = coco_mask.frPyObjects(rle, height, width)
    return {"size": [height, width], "counts": compressed["counts"].decode("ascii")}
