"""PASCAL VOC 2012: boxes as XML, masks as palette PNGs.

JPEGImages/000000.jpg           (or .webp, .png: VOC's own readers want .jpg)
Annotations/000000.xml          boxes are 1-based and include their last pixel
SegmentationObject/000000.png   k on the pixels of the XML's k-th object
SegmentationClass/000000.png    the category's position in the dataset's list + 1
ImageSets/{Main,Segmentation}/{train,trainval}.txt
labelmap.txt                    name:r,g,b:: of each value of SegmentationClass from 0 on, as CVAT writes it

0 is background and 255 void: crowds become void, as far as no object covers them, and are no objects.
Values that do not fit below 255 (an image with more than 254 objects, a dataset with more than 254
categories) make that PNG 16-bit greyscale, with void 65535. Where masks overlap, the later object is on
top. Characters that XML, or a line of the label map, cannot hold become U+FFFD. A 16-bit PNG has no
colours, and neither has its label map.

`truncated`: the box touches the image's border, so the object may go on beyond it; nothing better is known
of objects that were there before. `occluded`: something covers a part of it. After VOC's own elements of
an object stand ours; `provenance` and `amodal` (COCO's RLE) are JSON text.
"""

import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from xpaste_ray.formats.contract import Add, DatasetSpec, Format, image_files
from xpaste_ray.formats.findings import Finding, check_file_names
from xpaste_ray.formats.images import image_name, sample_name
from xpaste_ray.formats.origins import told_origin
from xpaste_ray.formats.rle import decode_in_box
from xpaste_ray.formats.shards import Fragment, Shard
from xpaste_ray.runs import write_whole
from xpaste_ray.samples import Annotation, Sample

IMAGES, XML, OBJECTS, CLASSES = "JPEGImages", "Annotations", "SegmentationObject", "SegmentationClass"
LABEL_MAP = "labelmap.txt"
IMAGE_SETS = tuple(
    f"ImageSets/{part}/{name}.txt" for part in ("Main", "Segmentation") for name in ("train", "trainval")
)

Tag = tuple[str, Any]
"""An element of XML: its name, and its text or the list of the elements in it."""

_MOST_IN_8_BITS = 254
_NOT_IN_A_LINE = re.compile("^#|[:\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def object_map(sample: Sample) -> np.ndarray:
    """(H, W): 0 background, k the k-th object that is no crowd, the type's maximum void.

    uint8 up to 254 objects, uint16 above.
    """
    objects = _objects(sample)
    labels = np.zeros((sample.height, sample.width), _value_type(len(objects)))
    void = np.iinfo(labels.dtype).max
    crowds = [annotation for annotation in sample.annotations if annotation.iscrowd]
    for value, annotation in [*((void, crowd) for crowd in crowds), *enumerate(objects, 1)]:
        left, top, width, height = annotation.bbox
        mask = decode_in_box(annotation.segmentation, annotation.bbox)
        labels[top : top + height, left : left + width][mask] = value
    return labels


def class_map(labels: np.ndarray, sample: Sample, class_of: dict[int, int]) -> np.ndarray:
    """(H, W): what `object_map` shows, as classes (category id -> 1, 2, ...). uint8 up to 254 classes."""
    dtype = _value_type(len(class_of))
    table = np.full(np.iinfo(labels.dtype).max + 1, np.iinfo(dtype).max, dtype)
    classes = [class_of[annotation.category_id] for annotation in _objects(sample)]
    table[: len(classes) + 1] = [0, *classes]
    return np.take(table, labels)


def _value_type(largest: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if largest <= _MOST_IN_8_BITS else np.uint16


def _objects(sample: Sample) -> list[Annotation]:
    return [annotation for annotation in sample.annotations if not annotation.iscrowd]


def _class_of(spec: DatasetSpec) -> dict[int, int]:
    return {category.id: index for index, category in enumerate(spec.categories, 1)}


def encode_label_png(labels: np.ndarray) -> bytes:
    """(H, W) uint8 as a palette PNG in VOC's colours, uint16 as a greyscale one.

    Every row is stored as its difference from the one above (PNG's filter 2), nearly all zeros in a
    label map: several times faster than a general encoder, which tries all filters, and as small.
    """
    height, width = labels.shape
    palette = labels.dtype == np.uint8
    rows = labels.astype(">u2").view(np.uint8) if not palette else labels
    lines = np.full((height, 1 + rows.shape[1]), 2, np.uint8)
    lines[:, 1:] = np.diff(rows, axis=0, prepend=np.uint8(0))  # modulo 256, as PNG counts
    depth, colour_type = (8, 3) if palette else (16, 0)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 1)), (b"IEND", b"")]
    if palette:
        chunks.insert(1, (b"PLTE", voc_colours()))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in chunks)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def decode_label_png(path: Path) -> np.ndarray:
    """The inverse of `encode_label_png`. OSError if it is no readable image."""
    with Image.open(path) as image:
        values = np.asarray(image)
    return values if values.dtype == np.uint8 else values.astype(np.uint16)


@cache
def voc_colours() -> bytes:
    """The palette of the VOC development kit: 256 x RGB, the bits of a value spread over the channels."""
    # Bit 3 i + c of the value is bit 7 - i of channel c; the eight bits reach down to bit 5.
    values = range(256)
    return bytes(
        sum((value >> (3 * i + c) & 1) << (7 - i) for i in range(3)) for value in values for c in range(3)
    )


def annotation_xml(sample: Sample, class_of: dict[int, int], spec: DatasetSpec) -> str:
    """Indented with tabs, a tag a line, as VOC's own files are: some readers go by lines."""
    tags: list[Tag] = [
        ("folder", "VOC2012"),
        ("filename", image_name(sample.index, spec.encoding)),
        ("source", [("database", "xpaste_ray"), ("background_id", sample.background_id)]),
        ("size", [("width", sample.width), ("height", sample.height), ("depth", 3)]),
        ("segmented", 1),
    ]
    for annotation in _objects(sample):
        name = spec.categories[class_of[annotation.category_id] - 1].name
        tags.append(("object", _object_tags(annotation, name)))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + "".join(_lines(("annotation", tags), ""))


def _lines(tag: Tag, indent: str) -> Iterator[str]:
    name, value = tag
    if not isinstance(value, list):
        yield f"{indent}<{name}>{_text(str(value))}</{name}>\n"
        return
    yield f"{indent}<{name}>\n"
    for inner in value:
        yield from _lines(inner, indent + "\t")
    yield f"{indent}</{name}>\n"


def _object_tags(annotation: Annotation, name: str) -> list[Tag]:
    left, top, width, height = annotation.bbox
    tags: list[Tag] = [
        ("name", name),
        ("pose", "Unspecified"),
        ("truncated", int(_touches_border(annotation))),
        ("occluded", int(annotation.visible_fraction < 1)),
        ("difficult", 0),
        ("bndbox", [("xmin", left + 1), ("ymin", top + 1), ("xmax", left + width), ("ymax", top + height)]),
        ("category_id", annotation.category_id),
        ("origin", annotation.origin),
        ("source_id", annotation.source_id),
        ("visible_fraction", annotation.visible_fraction),
        ("z_order", annotation.z_order),
    ]
    origin = told_origin(annotation)
    if "instance_id" in origin:
        tags.append(("instance_id", origin["instance_id"]))
    for key, value in (("provenance", origin.get("provenance")), ("amodal", annotation.amodal)):
        if value is not None:
            tags.append((key, json.dumps(value)))
    return tags


def _touches_border(annotation: Annotation) -> bool:
    left, top, width, height = annotation.bbox
    image_height, image_width = annotation.segmentation["size"]
    return min(left, top) == 0 or left + width == image_width or top + height == image_height


def _text(value: str) -> str:
    """Escaped; XML 1.0 cannot hold control characters and surrogates, not even escaped."""
    return escape(_NOT_XML.sub("\ufffd", value))


def write_shard(
    folder: Path, shard: Shard, samples: Sequence[Sample], images: Sequence[bytes], spec: DatasetSpec
) -> None:
    class_of = _class_of(spec)
    for sample in samples:
        name, labels = sample_name(sample.index), object_map(sample)
        write_whole(folder / XML / f"{name}.xml", annotation_xml(sample, class_of, spec).encode())
        write_whole(folder / OBJECTS / f"{name}.png", encode_label_png(labels))
        classes = class_map(labels, sample, class_of)
        write_whole(folder / CLASSES / f"{name}.png", encode_label_png(classes))


def _image_set(spec: DatasetSpec) -> bytes:
    return "".join(f"{sample_name(index)}\n" for index in range(spec.count)).encode()


def label_map(spec: DatasetSpec) -> bytes:
    """What the values of SegmentationClass mean, a line each from 0 on."""
    names = ["background", *(_NOT_IN_A_LINE.sub("\ufffd", category.name) for category in spec.categories)]
    colours = np.frombuffer(voc_colours(), np.uint8).reshape(256, 3).tolist()
    wide = len(spec.categories) > _MOST_IN_8_BITS
    lines = ["# label:color_rgb:parts:actions"]
    for value, name in enumerate(names):
        lines.append(f"{name}:{'' if wide else ','.join(map(str, colours[value]))}::")
    return "".join(f"{line}\n" for line in lines).encode()


@contextmanager
def finish(folder: Path, spec: DatasetSpec) -> Iterator[Add]:
    yield lambda sample, polygons: None
    write_whole(folder / LABEL_MAP, label_map(spec))
    for name in IMAGE_SETS:
        write_whole(folder / name, _image_set(spec))


def check(folder: Path, spec: DatasetSpec, fragments: Iterable[tuple[Shard, Fragment]]) -> Iterator[Finding]:
    for name in IMAGE_SETS:
        if not (folder / name).is_file():
            yield Finding(rule="file_missing", text=f"{name} is missing")
        elif (folder / name).read_bytes() != _image_set(spec):
            yield Finding(rule="image_set_differs", text=f"{name} lists other images")
    if not (folder / LABEL_MAP).is_file():
        yield Finding(rule="file_missing", text=f"{LABEL_MAP} is missing")
    elif (folder / LABEL_MAP).read_bytes() != label_map(spec):
        yield Finding(rule="categories_differ", text=f"{LABEL_MAP} has other names than dataset.json")
    class_of, names = _class_of(spec), set()
    for _, fragment in fragments:
        for sample in fragment.samples:
            names.add(sample_name(sample.index))
            yield from _check_xml(folder, sample, class_of, spec)
            yield from _check_pngs(folder, sample, class_of)
    yield from check_file_names(folder / XML, {f"{name}.xml" for name in names})
    for part in (OBJECTS, CLASSES):
        yield from check_file_names(folder / part, {f"{name}.png" for name in names})


def _check_xml(
    folder: Path, sample: Sample, class_of: dict[int, int], spec: DatasetSpec
) -> Iterator[Finding]:
    path = folder / XML / f"{sample_name(sample.index)}.xml"
    if not path.is_file():
        return  # named with the other missing files
    try:
        found = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        text = f"{XML}/{path.name} is not XML: {error}"
        yield Finding(rule="file_damaged", text=text, image_id=sample.index + 1)
        return
    expected = ElementTree.fromstring(annotation_xml(sample, class_of, spec).encode())
    objects = len(found.findall("object")), len(expected.findall("object"))
    if objects[0] != objects[1]:
        text = f"{XML}/{path.name} has {objects[0]} objects, it was written with {objects[1]}"
        yield Finding(rule="label_count", text=text, image_id=sample.index + 1)
    elif _values(found) != _values(expected):
        text = f"{XML}/{path.name} was changed after it was written"
        yield Finding(rule="entry_differs", text=text, image_id=sample.index + 1)


def _values(root: ElementTree.Element) -> list[tuple[str, str]]:
    return [(element.tag, (element.text or "").strip()) for element in root.iter()]


def _check_pngs(folder: Path, sample: Sample, class_of: dict[int, int]) -> Iterator[Finding]:
    labels = object_map(sample)
    for part, expected in ((OBJECTS, labels), (CLASSES, class_map(labels, sample, class_of))):
        path = folder / part / f"{sample_name(sample.index)}.png"
        if not path.is_file():
            continue
        try:
            found = decode_label_png(path)
        except (OSError, ValueError, SyntaxError) as error:
            text = f"{part}/{path.name} is not readable: {error}"
            yield Finding(rule="file_damaged", text=text, image_id=sample.index + 1)
            continue
        if found.dtype != expected.dtype or not np.array_equal(found, expected):
            ids = sorted(set(np.unique(expected).tolist()) ^ set(np.unique(found).tolist()))
            what = "was changed after it was written" + (f" (values {ids[:5]})" if ids else "")
            yield Finding(
                rule="label_map_differs", text=f"{part}/{path.name} {what}", image_id=sample.index + 1
            )


FORMAT = Format(
    image_folder=IMAGES,
    write_shard=write_shard,
    finish=finish,
    read_images=image_files(IMAGES),
    check=check,
)
