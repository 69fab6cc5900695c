"""Small real images and datasets, made in the test."""

import io
import json
import struct
import zlib

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask


def picture(height=48, width=64, seed=0):
    """(H, W, 3) uint8: a smooth gradient with some noise, so that coders have work."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (height + width)], axis=-1)
    return np.clip(base + rng.normal(0, 20, base.shape), 0, 255).astype(np.uint8)


def encoded(image, kind, **options):
    """An array, or a PIL image of any mode, as a file's bytes."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def png_chunk(kind, payload):
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png(width, height, rows, *extra, bits=8, colour=2):
    """A PNG from its raw rows, with any chunks put before the pixels."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + pixels + png_chunk(b"IEND", b"")


def square(left, top, side):
    """A polygon of COCO's: x, y, x, y ..."""
    right, bottom = left + side, top + side
    return [left, top, right, top, right, bottom, left, bottom]


def compressed_rle(mask):
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def write_dataset(folder, images, annotations, categories=None, name="annotations.json", images_in="images"):
    """images: {"id", "file_name", "height", "width", ...}; a picture of that size is made of each."""
    for entry in images:
        place = folder / images_in / (entry.get("file_name") or "/".join(entry["coco_url"].split("/")[-2:]))
        place.parent.mkdir(parents=True, exist_ok=True)
        made = picture(entry["height"], entry["width"], seed=entry["id"])
        place.write_bytes(encoded(made, "JPEG", quality=90))
    categories = categories or [
        {"id": 1, "name": "cat"},
        {"id": 18, "name": "dog"},
        {"id": 44, "name": "cup"},
    ]
    content = {"info": {"description": "a test [of] {brackets}"}, "licenses": [], "images": images,
               "annotations": annotations, "categories": categories}  # fmt: skip
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def small_dataset(folder):
    """Three images of different sizes: polygon, two polygons, overlapping objects, an RLE crowd."""
    crowd = np.zeros((40, 60), bool)
    crowd[30:, 5:50] = True
    images = [
        {"id": 7, "file_name": "a.jpg", "height": 48, "width": 64},
        {"id": 9, "file_name": "b.jpg", "height": 40, "width": 60},
        {"id": 8, "file_name": "c.jpg", "height": 64, "width": 48},
    ]
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 1, "iscrowd": 0, "bbox": [10, 10, 20, 20], "area": 400,
         "segmentation": [square(10, 10, 20)]},
        {"id": 2, "image_id": 9, "category_id": 18, "iscrowd": 0, "bbox": [0, 0, 30, 30], "area": 200,
         "segmentation": [square(2, 2, 10), square(18.5, 17.25, 10)]},
        {"id": 3, "image_id": 9, "category_id": 1, "iscrowd": 1, "bbox": [5, 30, 45, 10], "area": 450,
         "segmentation": {"size": [40, 60], "counts": _runs(crowd)}},
        {"id": 4, "image_id": 7, "category_id": 44, "iscrowd": 0, "bbox": [20, 20, 20, 20], "area": 400,
         "segmentation": [square(20, 20, 20)]},
        {"id": 6, "image_id": 9, "category_id": 44, "iscrowd": 0, "bbox": [5, 30, 45, 10], "area": 450,
         "segmentation": compressed_rle(crowd)},
    ]  # fmt: skip
    return write_dataset(folder, images, annotations)


def _runs(mask):
    """Uncompressed RLE: runs of 0s and 1s in turn, down the columns."""
    flat = np.concatenate([[0], mask.ravel(order="F").astype(int), [2]])
    edges = np.flatnonzero(np.diff(flat))
    runs = np.diff(np.concatenate([[0], edges])).tolist()
    return runs if flat[1] == 0 else [0, *runs]
