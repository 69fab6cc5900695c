"""COCO instance segmentation.

images/000000.jpg ...   a file a sample
annotations.json        streamed from the fragments, in order, one entry a line

Masks are compressed RLE with iscrowd 0, which every reader of COCO's own library takes; polygons on
request (exact, see `polygons`), crowds stay RLE. Image ids are sample + 1, because some readers take 0
for "no image"; annotation ids count from 1 in sample order.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.contract import Add, DatasetSpec, Format, categories_to_json, image_files
from xpaste_ray.formats.findings import Finding
from xpaste_ray.formats.images import image_name
from xpaste_ray.formats.origins import told_origin
from xpaste_ray.formats.shards import Fragment, Polygons, Shard
from xpaste_ray.runs import read_json
from xpaste_ray.samples import Annotation, Sample
from xpaste_ray.storage import aside_of

IMAGES = "images"
ANNOTATIONS = "annotations.json"

Entry = dict[str, Any]


def no_files(
    folder: Path, shard: Shard, samples: Sequence[Sample], images: Sequence[bytes], spec: DatasetSpec
) -> None:
    """A shard of this format is its images and the fragment, which others write."""


def image_entry(sample: Sample, spec: DatasetSpec) -> Entry:
    return {
        "id": sample.index + 1,
        "file_name": image_name(sample.index, spec.encoding),
        "height": sample.height,
        "width": sample.width,
        "background_id": sample.background_id,
    }


def annotation_entry(image_id: int, annotation: Annotation, polygons: list[list[int]] | None) -> Entry:
    """An entry of `annotations` without its id. Keys after `iscrowd` are ours; readers ignore them."""
    entry = {
        "image_id": image_id,
        "category_id": annotation.category_id,
        "bbox": list(annotation.bbox),
        "area": annotation.area,
        "segmentation": annotation.segmentation if polygons is None else polygons,
        "iscrowd": annotation.iscrowd,
        "origin": annotation.origin,
        "source_id": annotation.source_id,
        "visible_fraction": annotation.visible_fraction,
        "z_order": annotation.z_order,
    }
    if annotation.amodal is not None:
        entry["amodal_segmentation"] = annotation.amodal
    return entry | told_origin(annotation)


def annotation_entries(sample: Sample, polygons: Polygons | None) -> list[Entry]:
    """The sample's entries of `annotations`, without their ids."""
    pairs = zip_longest(sample.annotations, polygons or ())
    return [annotation_entry(sample.index + 1, annotation, rings) for annotation, rings in pairs]


def category_entries(spec: DatasetSpec) -> list[Entry]:
    """With the `supercategory` that COCO's own library asks every category for; ours have none."""
    return [entry | {"supercategory": "none"} for entry in categories_to_json(spec)]


@contextmanager
def entry_file(target: Path, head: Entry, tail: Callable[[], Entry]) -> Iterator[Callable[..., None]]:
    """Stream a COCO-like JSON file: hands out add(image entry, annotation entries), which numbers these.

    The file opens with the keys of `head` and closes with those of `tail`, asked for at the end.
    Annotations wait in a second file until all images are written, so memory holds one sample.
    """
    main, spool = aside_of(target), aside_of(target.with_name("annotations.spool"))
    target.parent.mkdir(parents=True, exist_ok=True)
    images, number = 0, 0
    try:
        with main.open("w", encoding="ascii") as file, spool.open("w+", encoding="ascii") as waiting:

            def add(image: Entry, annotations: list[Entry]) -> None:
                nonlocal images, number
                images += 1
                file.write(("" if images == 1 else ",") + "\n" + _compact(image))
                for entry in annotations:
                    number += 1
                    waiting.write(("" if number == 1 else ",") + "\n" + _compact({"id": number} | entry))

            file.write(_compact(head)[:-1] + ',"images":[')
            yield add
            file.write('],"annotations":[')
            waiting.seek(0)
            shutil.copyfileobj(waiting, file, 1 << 20)
            file.write("]," + _compact(tail())[1:] + "\n")
        main.replace(target)
    finally:
        main.unlink(missing_ok=True)
        spool.unlink(missing_ok=True)


def _compact(value: Entry) -> str:
    return json.dumps(value, separators=(",", ":"))


@contextmanager
def finish(folder: Path, spec: DatasetSpec) -> Iterator[Add]:
    head = {"info": dict(spec.info), "licenses": []}
    with entry_file(folder / ANNOTATIONS, head, lambda: {"categories": category_entries(spec)}) as add:
        yield lambda sample, polygons: add(image_entry(sample, spec), annotation_entries(sample, polygons))


def check(folder: Path, spec: DatasetSpec, fragments: Iterable[tuple[Shard, Fragment]]) -> Iterator[Finding]:
    expected = (
        (image_entry(sample, spec), annotation_entries(sample, polygons))
        for _, fragment in fragments
        for sample, polygons in zip_longest(fragment.samples, fragment.polygons or ())
    )
    yield from check_entries(folder / ANNOTATIONS, expected, lambda: category_entries(spec))


def check_entries(
    path: Path, expected: Iterable[tuple[Entry, list[Entry]]], categories: Callable[[], list[Entry]]
) -> Iterator[Finding]:
    """Compare a COCO-like file with the entries that it should have; `categories` is asked for last."""
    try:
        value = read_json(path)
    except FileNotFoundError:
        yield Finding(rule="file_missing", text=f"{path.name} is missing")
        return
    except ConfigError:
        yield Finding(rule="file_damaged", text=f"{path.name} is not a JSON object: it is cut off or edited")
        return
    for key in ("images", "annotations", "categories"):
        if not _is_list_of_entries(value.get(key)):
            text = f"{path.name} has no list {key!r} whose entries all have an id"
            yield Finding(rule="file_damaged", text=text)
            return
    found_images, found_annotations = _by_id(value["images"]), _by_id(value["annotations"])
    if len(found_images) < len(value["images"]):
        yield Finding(rule="image_id_twice", text=f"{path.name} has an image id more than once")
    if len(found_annotations) < len(value["annotations"]):
        yield Finding(rule="annotation_id_twice", text=f"{path.name} has an annotation id more than once")
    annotation_id = 0
    for image, annotations in expected:
        found = found_images.pop(image["id"], None)
        yield from _difference(path.name, image, found, image["id"], None)
        for entry in annotations:
            annotation_id += 1
            found = found_annotations.pop(annotation_id, None)
            yield from _difference(
                path.name, {"id": annotation_id} | entry, found, image["id"], annotation_id
            )
    for image_id in found_images:
        text = f"{path.name} has image {image_id}, which the dataset does not have"
        yield Finding(rule="entry_stray", text=text, image_id=image_id)
    for annotation_id, entry in found_annotations.items():
        text = f"{path.name} has annotation {annotation_id}, which the dataset does not have"
        yield Finding(
            rule="entry_stray", text=text, image_id=entry.get("image_id"), annotation_id=annotation_id
        )
    if value["categories"] != categories():
        yield Finding(rule="categories_differ", text=f"{path.name} has other categories than dataset.json")


def _is_list_of_entries(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("id"), int | str) for entry in value
    )


def _by_id(entries: list[Entry]) -> dict[Any, Entry]:
    return {entry["id"]: entry for entry in entries}


def _difference(
    name: str, expected: Entry, found: Entry | None, image_id: int, annotation_id: int | None
) -> Iterator[Finding]:
    what = f"image {image_id}" if annotation_id is None else f"annotation {annotation_id}"
    if found is None:
        rule, text = "entry_missing", f"{name} lacks {what}"
    elif found != expected:
        keys = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
        rule, text = "entry_differs", f"{name}: {what} was changed after it was written ({', '.join(keys)})"
    else:
        return
    yield Finding(rule=rule, text=text, image_id=image_id, annotation_id=annotation_id)


FORMAT = Format(
    image_folder=IMAGES,
    write_shard=no_files,
    finish=finish,
    read_images=image_files(IMAGES),
    check=check,
)
