"""Coloured discs on plain images, as a COCO dataset: what a tiny detector learns in seconds."""

import json

import cv2
import numpy as np

from tests.backgrounds.material import compressed_rle
from xpaste_ray.rng import rng_for

CATEGORIES = ({"id": 1, "name": "banana"}, {"id": 18, "name": "frog"}, {"id": 44, "name": "lion"})
_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
_RADIUS = 10


def disc_dataset(folder, count, seed=0, side=64, **image_keys):
    """`count` images of two discs each, later ones over earlier ones; returns the folder."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        rng = rng_for(seed, "discs", number)
        image = np.full((side, side, 3), rng.integers(40, 120), np.uint8)
        masks = []
        for category, (x, y) in zip(
            rng.integers(0, 3, 2), rng.integers(14, side - 14, (2, 2)).tolist(), strict=True
        ):
            mask = np.zeros((side, side), np.uint8)
            cv2.circle(mask, (x, y), _RADIUS, 1, -1)
            image[mask > 0] = _COLOURS[category]
            masks = [(other, np.where(mask, 0, seen).astype(np.uint8)) for other, seen in masks]
            masks.append((CATEGORIES[category]["id"], mask))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image[..., ::-1])
        images.append(
            {"id": number, "file_name": f"{number}.png", "height": side, "width": side, **image_keys}
        )
        for category_id, mask in masks:
            if mask.sum() > 30:
                annotations.append(_annotation(len(annotations) + 1, number, category_id, mask))
    content = {"images": images, "annotations": annotations, "categories": list(CATEGORIES)}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def _annotation(number, image_id, category_id, mask):
    x, y, width, height = cv2.boundingRect(mask)
    return {"id": number, "image_id": image_id, "category_id": category_id, "iscrowd": 0,
            "area": int(mask.sum()), "bbox": [x, y, width, height],
            "segmentation": compressed_rle(mask)}  # fmt: skip
