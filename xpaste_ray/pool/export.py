"""A pool as files that other programs read: RGBA images and the index of X-Paste's training code.

    index.json          {"44": ["*/.../images/45/00000000.png", ...]}: X-Paste's, see below
    categories.json     the classes in their order, as COCO writes them
    provenance.parquet  everything else that is known of each image; what an import reads
    images/<category id>/<row>.png

Source of the index: X-Paste, stage E. Its keys are class numbers from 0, those of the categories sorted by
id; a `*` says that the image is cleaned already: it is pasted as it is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from xpaste_ray.categories import Category, category_to_coco
from xpaste_ray.errors import ConfigError
from xpaste_ray.masks import encode_png
from xpaste_ray.pool.layout import INSTANCE_SCHEMA, PROVENANCE
from xpaste_ray.pool.reader import Pool
from xpaste_ray.runs import write_json, write_parquet
from xpaste_ray.storage import Location

INDEX_FILE, CATEGORIES_FILE, PROVENANCE_FILE = "index.json", "categories.json", "provenance.parquet"
CLEANED = "*"

PROVENANCE_SCHEMA = pa.schema(
    [pa.field("file", pa.string(), nullable=False), *map(INSTANCE_SCHEMA.field, PROVENANCE)]
)


def export_pool(
    pool: Pool,
    folder: Location,
    categories: Sequence[Category] | None = None,
    relative: bool = False,
    tell: Callable[[int], None] = lambda _: None,
) -> None:
    """Write all instances.

    categories: the classes that a trainer has; the pool's own if they are not given. relative: paths in the
    index start at the folder, for one that moves; otherwise they are absolute, which is what the training
    code opens wherever it is started. tell: is told how many images are done, each time. No name of a
    category or an instance gets into a path.
    """
    classes = in_class_order(categories or pool.categories)
    number_of = {category.id: number for number, category in enumerate(classes)}
    index: dict[str, list[str]] = {}
    told: list[dict[str, Any]] = []
    root = "" if relative else f"{folder}/"
    for row in range(len(pool)):
        instance = pool.instance(row)
        name = f"images/{instance.category_id}/{row:08d}.png"
        (folder / name).write_whole(encode_png(instance.rgba))
        index.setdefault(str(number_of[instance.category_id]), []).append(f"{CLEANED}{root}{name}")
        told.append(_provenance(pool, row, classes[number_of[instance.category_id]], name))
        tell(row + 1)
    write_json(folder / CATEGORIES_FILE, {"categories": [category_to_coco(one) for one in classes]})
    write_parquet(folder / PROVENANCE_FILE, pa.Table.from_pylist(told, schema=PROVENANCE_SCHEMA))
    write_json(folder / INDEX_FILE, {key: index[key] for key in sorted(index, key=int)})


def for_vocabulary(pool: Pool, vocabulary: Sequence[Category]) -> tuple[Pool, tuple[Category, ...]]:
    """The pool under a vocabulary's ids, and that vocabulary. ConfigError if it lacks a category that has
    instances: class numbers would mean something else to a trainer."""
    renumbered, known = pool.in_vocabulary(vocabulary), {category.id for category in vocabulary}
    lacking = [one.name for one in renumbered.categories
               if one.id not in known and one.id in renumbered.rows_by_category]  # fmt: skip
    if lacking:
        raise ConfigError(
            f"--vocabulary has no category {lacking[0]!r}, of which the pool has instances (and "
            f"{len(lacking) - 1} more such): export without it, or with one that has them"
        )
    return renumbered, tuple(vocabulary)


def in_class_order(categories: Sequence[Category]) -> list[Category]:
    """The position of a category is its number in X-Paste's index."""
    return sorted(categories, key=lambda one: one.id)


def _provenance(pool: Pool, row: int, category: Category, file: str) -> dict[str, Any]:
    told = pool.provenance(row)
    return {**told, "file": file, "category_id": category.id, "category": category.name}
