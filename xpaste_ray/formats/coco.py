"""COCO instance segmentation: shards of consecutive samples, one final JSON.

images/000000.jpg ...           a file a sample
fragments/00000000-00000024.json  the annotations of a range of samples; its shard's commit
annotations.json                streamed from the fragments, in order
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from xpaste_ray.categories import Category, category_to_coco
from xpaste_ray.runs import aside_of, read_json, write_whole


@dataclass(frozen=True, slots=True)
class Shard:
    """Samples first .. last, both included."""

    first: int
    last: int

    @property
    def name(self) -> str:
        return f"{self.first:08d}-{self.last:08d}"


def plan_shards(count: int, samples_per_shard: int) -> list[Shard]:
    """The ranges that cover 0 .. count-1."""
    starts = range(0, count, samples_per_shard)
    return [Shard(start, min(start + samples_per_shard, count) - 1) for start in starts]


def image_name(sample: int) -> str:
    return f"{sample:06d}.jpg"


def fragment_path(dataset: Path, shard: Shard) -> Path:
    return dataset / "fragments" / f"{shard.name}.json"


def write_image(dataset: Path, sample: int, image: np.ndarray, jpeg_quality: int) -> None:
    """image: (H, W, 3) uint8 RGB."""
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    if not ok:
        raise ValueError(f"OpenCV could not encode sample {sample} as JPEG")
    write_whole(dataset / "images" / image_name(sample), bytes(data))


def write_fragment(dataset: Path, shard: Shard, fragment: Mapping[str, Any]) -> None:
    """Commit a shard: its images are on disk, and this is the last file that it writes."""
    write_whole(fragment_path(dataset, shard), json.dumps(fragment, separators=(",", ":")).encode())


def is_committed(dataset: Path, shard: Shard, recipe: str) -> bool:
    """Whether the shard is there, whole, and made by this recipe."""
    try:
        found = json.loads(fragment_path(dataset, shard).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("recipe") == recipe


def write_annotations(
    dataset: Path, shards: Sequence[Shard], categories: Sequence[Category], info: dict[str, Any]
) -> Counter[str]:
    """Stream `annotations.json` from the fragments.

    Annotation ids count from 1 in sample order. Memory holds one fragment at a time. Returns the
    numbers of images, annotations, and of placements by what became of them.
    """
    counts: Counter[str] = Counter(images=0, annotations=0)
    target = dataset / "annotations.json"
    dataset.mkdir(parents=True, exist_ok=True)
    aside = aside_of(target)
    with aside.open("w", encoding="utf-8") as file:
        file.write('{"info":' + json.dumps(info))
        file.write(',"licenses":[],"categories":' + json.dumps([category_to_coco(c) for c in categories]))
        for key in ("images", "annotations"):
            file.write(f',"{key}":[')
            for entry in _entries(dataset, shards, key):
                counts[key] += 1
                if key == "annotations":
                    entry = {"id": counts[key], **entry}
                file.write(("\n" if counts[key] == 1 else ",\n") + json.dumps(entry, separators=(",", ":")))
            file.write("]")
        file.write("}\n")
    aside.replace(target)
    for shard in shards:
        counts.update(read_json(fragment_path(dataset, shard))["counts"])
    return counts


def _entries(dataset: Path, shards: Sequence[Shard], key: str) -> Iterator[dict[str, Any]]:
    for shard in shards:
        yield from read_json(fragment_path(dataset, shard))[key]
