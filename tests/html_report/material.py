"""Runs and datasets to tell of, small or with many rows, made without a model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.pipelines.test_select import QUIET, make_run, proposal, settings
from xpaste_ray.categories import Category
from xpaste_ray.formats.contract import DatasetSpec
from xpaste_ray.formats.dataset import finish, write_shard
from xpaste_ray.formats.images import ImageEncoding, encode_image
from xpaste_ray.masks import encode_rle, tight_box_xywh
from xpaste_ray.pipelines.build import build_pool
from xpaste_ray.runs import RunDir, write_json
from xpaste_ray.samples import Annotation, Sample

SIDE = 64
CATEGORIES = (Category(45, "banana", frequency="f"), Category(475, "frog", frequency="c"))


def finished_run(root: Path, *overrides: str) -> RunDir:
    """Four images each of bananas, frogs and lions; the lions' are black. Of the bananas, 0 and 1 look the
    same, as do 2 and 3; their logits are 90 to 60, the frogs' 58, 57, 56.5 and 40, and the bar is 55."""
    run = make_run(root, settings(*overrides))
    build_pool(settings(*overrides), run.root, QUIET)
    return run


def empty_run(root: Path) -> RunDir:
    """One of which nothing is kept: a plain threshold of 99, and logits of 10."""
    told = settings("select.rule=threshold", "select.min_cosine=0.99")
    run = make_run(root, told, lambda prompt: (proposal("m", 0, 10.0, embedding=(1, 0)),))
    build_pool(told, run.root, QUIET)
    return run


def annotation(category_id: int, left: int, top: int, side: int, **fields: object) -> Annotation:
    """A square."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + side, left : left + side] = True
    box = tight_box_xywh(mask)
    assert box is not None
    told = {
        "category_id": category_id, "segmentation": encode_rle(mask), "bbox": box, "area": int(mask.sum()),
        "iscrowd": 0, "origin": "pool", "source_id": f"{category_id}-0", "visible_fraction": 1.0,
        "z_order": 1,
    }  # fmt: skip
    return Annotation(**(told | fields))


def write_dataset(folder: Path, images: Sequence[Sequence[Annotation]], name: str = "coco") -> Path:
    """Grey images with those annotations, two a shard."""
    spec = DatasetSpec(
        recipe="recipe-1", formats=(name,), encoding=ImageEncoding(), categories=CATEGORIES,
        count=len(images), samples_per_shard=2,
    )  # fmt: skip
    data = encode_image(np.full((SIDE, SIDE, 3), 128, np.uint8), spec.encoding)
    for shard in spec.shards:
        samples = [
            Sample(index=i, height=SIDE, width=SIDE, background_id=f"b{i % 3}", annotations=tuple(images[i]))
            for i in shard.indices
        ]
        pasted = sum(one.origin == "pool" for sample in samples for one in sample.annotations)
        told = {"placed": pasted, "pasted_annotations": pasted}
        write_shard(folder, shard, samples, [data] * len(samples), told, spec)
    finish(folder, spec)
    return folder


def say_composed_by(folder: Path, **compose: object) -> None:
    """A `run.json` beside the dataset, with some of its settings."""
    write_json(folder / "run.json", {"settings": {"compose": compose}, "counts": {}, "times": []})
