"""Small datasets made by hand: two shards, gaps in the category ids, names that no path could hold."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpaste_ray.categories import Category
from xpaste_ray.formats.contract import FORMAT_NAMES, DatasetSpec
from xpaste_ray.formats.dataset import finish, write_shard
from xpaste_ray.formats.images import ImageEncoding, encode_image
from xpaste_ray.masks import encode_rle, tight_box_xywh
from xpaste_ray.samples import Annotation, Sample

HEIGHT, WIDTH = 24, 32

CATEGORIES = (
    Category(3, "cup/../../etc", ("cup", "mug"), "a vessel", "f"),
    Category(7, 'new\nline <&"]]> \x00 ü😀', frequency="r"),
    Category(1203, "z" * 300),
)


def rectangle(left: int, top: int, width: int, height: int, size_hw=(HEIGHT, WIDTH)) -> np.ndarray:
    mask = np.zeros(size_hw, dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def make_annotation(mask: np.ndarray, category_id: int = 3, **fields: Any) -> Annotation:
    box = tight_box_xywh(mask)
    assert box is not None
    values: dict[str, Any] = {
        "category_id": category_id,
        "segmentation": encode_rle(mask),
        "bbox": box,
        "area": int(mask.sum()),
        "iscrowd": 0,
        "origin": "pool",
        "source_id": "3-0-test",
        "visible_fraction": 1.0,
        "z_order": 1,
    }
    return Annotation(**(values | fields))


def make_sample(index: int, annotations: Sequence[Annotation], **fields: Any) -> Sample:
    values = {"height": HEIGHT, "width": WIDTH, "background_id": f"b/../{index}.jpg"} | fields
    return Sample(index=index, annotations=tuple(annotations), **values)


def make_samples() -> list[Sample]:
    """Five samples: every kind of object; a hole and two parts; a crowd; none; one pixel, all borders."""
    ring = rectangle(2, 2, 12, 10) & ~rectangle(5, 5, 4, 3)
    two_parts = rectangle(20, 2, 4, 4) | rectangle(26, 10, 3, 9)
    provenance = {"prompt": "a photo of a cup", "seed": 7}
    under = make_annotation(
        rectangle(0, 14, 10, 6), 7, origin="background", source_id="b#1", z_order=0, visible_fraction=0.5
    )
    objects = [
        under,
        make_annotation(ring, 3, amodal=encode_rle(rectangle(2, 2, 12, 10)), provenance=provenance),
        make_annotation(two_parts, 1203, origin="copied", source_id="c#2", z_order=2),
    ]
    crowd = make_annotation(
        rectangle(4, 4, 20, 10), 7, iscrowd=1, origin="background", source_id="b#9", z_order=0
    )
    over = make_annotation(rectangle(6, 6, 5, 5), 3, source_id="3-1-test")
    lists: dict[str, Any] = {"neg_category_ids": (1203,), "not_exhaustive_category_ids": (3,)}
    full = make_annotation(rectangle(0, 0, WIDTH, HEIGHT) & ~rectangle(9, 9, 1, 1), 3)
    return [
        make_sample(0, objects),
        make_sample(1, [crowd, over], **lists),
        make_sample(2, []),
        make_sample(3, [make_annotation(rectangle(9, 9, 1, 1), 7), full]),
        make_sample(
            4, [make_annotation(rectangle(1, 3, 7, 1), 3), make_annotation(rectangle(20, 3, 1, 9), 7)]
        ),
    ]


def make_image(index: int, size_hw=(HEIGHT, WIDTH)) -> np.ndarray:
    """A smooth picture of its own for each sample: (H, W, 3) uint8."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    return np.stack([x * 4, y * 5, np.full_like(x, 40 * index % 256)], axis=2).astype(np.uint8)


SPEC = DatasetSpec(
    recipe="r1",
    formats=("coco",),
    encoding=ImageEncoding(),
    categories=CATEGORIES,
    count=5,
    samples_per_shard=3,
    info={"description": "made by hand"},
)


def write_dataset(
    dataset: Path,
    spec: DatasetSpec = SPEC,
    samples: Sequence[Sample] | None = None,
    backwards: bool = False,
) -> Path:
    samples = make_samples() if samples is None else samples
    spec = replace(spec, count=len(samples))
    for shard in reversed(spec.shards) if backwards else spec.shards:
        members = [samples[index] for index in shard.indices]
        images = [encode_image(make_image(s.index, (s.height, s.width)), spec.encoding) for s in members]
        write_shard(dataset, shard, members, images, {"placed": len(members)}, spec)
    finish(dataset, spec)
    return dataset


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Writes a finished dataset of `make_samples` in the named formats: make(*formats, **spec fields)."""

    def make(
        *formats: str, folder: str = "data", samples=None, backwards: bool = False, **fields: Any
    ) -> Path:
        spec = replace(SPEC, formats=formats or FORMAT_NAMES, **fields)
        return write_dataset(tmp_path / folder, spec, samples, backwards)

    return make


def all_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below the folder by its relative path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
