"""The study's sets on the disk.

train/ val/ test/       images/ and annotations.json, LVIS's fields, every object of the 32 categories
labelled/               images/ and labels.csv: images of which only the categories are told
labelled_truth.json     the masks of these, kept aside: for measuring only
pretrain/               images/ and labels.csv: single objects of other categories
material.json           what is in them, and the ranges they were drawn from
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from xpaste_ray.categories import Category, category_to_coco, lvis_categories, pick_categories
from xpaste_ray.embedded import DIFFUSION_CATEGORIES
from xpaste_ray.embedded.labelled import LabelledScene, encode_jpeg
from xpaste_ray.masks import encode_rle, tight_box_xywh
from xpaste_ray.rng import rng_for
from xpaste_ray.runs import write_json, write_whole

from .plan import COMMON_UP_TO, LEAST, MOST_OF_AN_IMAGE, RARE_UP_TO, SHAPE, deal, frequency_of, long_tail
from .scenes import ALONE, OTHERS, SHOWN, UNSEEN, MiniStyle, crops_of, mini_scene, split_photographs

PROCESSES = 2
_IMAGES_AT_ONCE = 16
PHOTOGRAPHS = {"train": 5, "val": 2, "test": 2}
"""How many of the nine each part has. Labelled images and those for pretraining show training's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Objects of each category; in the training set, of the most frequent one, see `plan.long_tail`."""

    train: int = 60
    val: int = 8
    test: int = 25
    labelled: int = 20
    pretrain: int = 15


@dataclass(frozen=True, slots=True)
class Part:
    """A set before it is drawn. shown: the categories of each image."""

    name: str
    shown: tuple[tuple[str, ...], ...]
    style: MiniStyle
    photographs: tuple[str, ...]


def plan_parts(seed: int, sizes: Sizes = Sizes()) -> list[Part]:
    """All sets. The same seed, the same sets."""
    photographs = split_photographs(seed, PHOTOGRAPHS)
    tail = long_tail(DIFFUSION_CATEGORIES, sizes.train, seed)

    def part(name: str, counts: dict[str, int], most: int, style: MiniStyle, like: str | None = None) -> Part:
        shown = deal(counts, most, rng_for(seed, "mini-lvis deal", name))
        return Part(name, tuple(shown), style, photographs[like or name])

    def even(number: int, names: Sequence[str] = DIFFUSION_CATEGORIES) -> dict[str, int]:
        return dict.fromkeys(names, number)

    return [
        part("train", tail, MOST_OF_AN_IMAGE, SHOWN),
        part("val", even(sizes.val), MOST_OF_AN_IMAGE, UNSEEN),
        part("test", even(sizes.test), MOST_OF_AN_IMAGE, UNSEEN),
        part("labelled", even(sizes.labelled), 2, SHOWN, like="train"),
        part("pretrain", even(sizes.pretrain, OTHERS), 1, ALONE, like="train"),
    ]


def write_material(out: Path, seed: int, sizes: Sizes = Sizes()) -> dict[str, Any]:
    """Writes all sets and returns what `material.json` says. The same arguments give the same bytes."""
    parts = plan_parts(seed, sizes)
    (train,) = (one for one in parts if one.name == "train")
    categories = study_categories(train.shown)
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        for part in parts:
            _write_part(out, part, seed, categories, pool)
    told = _told(seed, sizes, parts, categories)
    write_json(out / "material.json", told)
    return told


def study_categories(shown: Iterable[tuple[str, ...]]) -> tuple[Category, ...]:
    """The 32 under LVIS's ids, as frequent as the training set makes them. shown: its images' categories."""
    images = Counter(name for names in shown for name in names)
    return tuple(
        replace(one, frequency=frequency_of(images[one.name]))
        for one in pick_categories(lvis_categories(), DIFFUSION_CATEGORIES)
    )


def _write_part(
    out: Path, part: Part, seed: int, categories: Sequence[Category], pool: ProcessPoolExecutor
) -> None:
    folder = out / part.name
    (folder / "images").mkdir(parents=True, exist_ok=True)
    chunks = [range(at, min(at + _IMAGES_AT_ONCE, len(part.shown)))
              for at in range(0, len(part.shown), _IMAGES_AT_ONCE)]  # fmt: skip
    drawn = [one for several in pool.map(partial(_draw, out, part, seed), chunks) for one in several]
    if part.name in ("labelled", "pretrain"):
        write_whole(folder / "labels.csv", _labels_csv(part))
    if part.name == "labelled":
        write_json(out / "labelled_truth.json", dataset_json(part, drawn, categories, f"{part.name}/images/"))
    elif part.name != "pretrain":
        write_json(folder / "annotations.json", dataset_json(part, drawn, categories))


Drawn = list[dict[str, Any]]
"""An image's annotations; their ids, and the image's, are given where all are known."""


def _draw(out: Path, part: Part, seed: int, numbers: Iterable[int]) -> list[Drawn]:
    """Writes these images. In a process of its own."""
    crops = crops_of(part.photographs)
    drawn = []
    for index in numbers:
        scene = mini_scene(seed, part.name, index, part.shown[index], crops, part.style)
        write_whole(out / part.name / "images" / image_name(index), encode_jpeg(scene.image))
        drawn.append(list(_annotations(scene)))
    return drawn


def _annotations(scene: LabelledScene) -> Iterator[dict[str, Any]]:
    for one in scene.objects:
        if one.labelled:
            box = tight_box_xywh(one.mask)
            assert box is not None  # enough of it is seen
            yield {"category": one.category, "bbox": list(box), "area": int(one.mask.sum()), "iscrowd": 0,
                   "segmentation": encode_rle(one.mask)}  # fmt: skip


def image_name(index: int) -> str:
    return f"{index:06d}.jpg"


def dataset_json(
    part: Part, drawn: Sequence[Drawn], categories: Sequence[Category], folder: str = ""
) -> dict[str, Any]:
    """LVIS's file. Every object of the categories is annotated, so all others are known not to be there.
    folder: before the images' names."""
    ids = {one.name: one.id for one in categories}
    images, annotations = [], []
    for index, own in enumerate(drawn):
        shown = {ids[name] for name in part.shown[index]}
        images.append({
            "id": index + 1, "file_name": f"{folder}{image_name(index)}",
            "height": part.style.side_px, "width": part.style.side_px,
            "neg_category_ids": [one.id for one in categories if one.id not in shown],
            "not_exhaustive_category_ids": [],
        })  # fmt: skip
        for one in own:
            told = {name: value for name, value in one.items() if name != "category"}
            head = {"id": len(annotations) + 1, "image_id": index + 1, "category_id": ids[one["category"]]}
            annotations.append(head | told)
    counts = Counter(one["category_id"] for one in annotations)  # of images, too: none shows one twice
    entries = [category_to_coco(one) | {"image_count": counts[one.id], "instance_count": counts[one.id]}
               for one in categories]  # fmt: skip
    info = {"description": f"mini-lvis, {part.name}: rendered by xpaste_ray's benchmarks"}
    return {"info": info, "licenses": [], "images": images, "annotations": annotations, "categories": entries}


def _labels_csv(part: Part) -> bytes:
    text = io.StringIO()
    rows = [
        (f"images/{image_name(index)}", ";".join(sorted(names))) for index, names in enumerate(part.shown)
    ]
    csv.writer(text, lineterminator="\n").writerows([("path", "category"), *rows])
    return text.getvalue().encode()


def _told(seed: int, sizes: Sizes, parts: Sequence[Part], categories: Sequence[Category]) -> dict[str, Any]:
    tail = long_tail(DIFFUSION_CATEGORIES, sizes.train, seed)
    return {
        "seed": seed,
        "long_tail": {"shape": SHAPE, "most": sizes.train, "least": LEAST, "rare_up_to": RARE_UP_TO,
                      "common_up_to": COMMON_UP_TO},
        "train_instances": dict(sorted(tail.items(), key=lambda one: (-one[1], one[0]))),
        "frequency": {one.name: one.frequency for one in categories},
        "parts": {
            part.name: {"images": len(part.shown), "objects": sum(map(len, part.shown)),
                        "photographs": list(part.photographs), "style": asdict(part.style)}
            for part in parts
        },
    }  # fmt: skip
