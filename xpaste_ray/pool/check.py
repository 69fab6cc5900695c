"""Is a sealed pool whole? Every file is read, every instance decoded."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pool.layout import FORMAT, INDEX_SCHEMA, INSTANCE_SCHEMA, MANIFEST, image_of
from xpaste_ray.pool.pixels import load_pixels
from xpaste_ray.runs import read_json
from xpaste_ray.storage import Location

_SHARED = ("instance_id", "category_id", "candidate_id", "height", "width")  # of an instance and in the index

MISSING = "missing"

Problem = tuple[str, str]
"""Which file, and what is wrong with it."""


def is_pool(folder: Location) -> bool:
    """Whether there is a pool's manifest, whatever it says."""
    return (folder / MANIFEST).is_file()


def check_pool(folder: Location) -> Iterator[Problem]:
    """Everything that is wrong with a pool's folder. One shard is held in memory at a time."""
    try:
        told = read_json(folder / MANIFEST)
        files = [told["index"], *told["shards"]]
        categories = {entry["id"]: entry["instances"] for entry in told["categories"]}
        expected = [(file["name"], file["checksum"]) for file in files]
    except (ConfigError, KeyError, TypeError) as error:
        yield MANIFEST, f"damaged ({error})"
        return
    if told.get("format") != FORMAT:
        yield MANIFEST, f"pool format {told.get('format')!r} is not {FORMAT}: build it again"
        return
    index = _table(folder, *expected[0], INDEX_SCHEMA)
    if isinstance(index, str):
        yield expected[0][0], index
        return
    yield from _check_index(expected[0][0], index, told, categories)
    for number, (name, checksum) in enumerate(expected[1:]):
        shard = _table(folder, name, checksum, INSTANCE_SCHEMA)
        if isinstance(shard, str):
            yield name, shard
            continue
        own = index.filter(pc.equal(index["shard"], number))
        yield from ((name, problem) for problem in _check_shard(shard, own))


def _table(folder: Location, name: str, checksum: str, schema: pa.Schema) -> pa.Table | str:
    """A file's table, or what is wrong with it."""
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        return MISSING
    if hash_bytes(data) != checksum:
        return "damaged: its checksum is another"
    try:
        table = pa.ipc.open_file(pa.BufferReader(data)).read_all()
    except pa.ArrowInvalid as error:
        return f"damaged ({error})"
    return table if table.schema.equals(schema) else "its columns are others than a pool's"


def _check_index(
    name: str, index: pa.Table, told: dict[str, Any], categories: dict[int, int]
) -> Iterator[Problem]:
    if index.num_rows != told["instances"]:
        yield name, f"{index.num_rows} rows, but {told['instances']} instances in {MANIFEST}"
    if index.num_rows != len(set(index["instance_id"].to_pylist())):
        yield name, "an instance id is there twice"
    counts = Counter(index["category_id"].to_pylist())
    for number in sorted({*counts, *categories}):
        if counts[number] != categories.get(number, 0):
            yield name, f"{counts[number]} instances of category {number}, not {categories.get(number, 0)}"


def _check_shard(shard: pa.Table, index: pa.Table) -> Iterator[str]:
    """Each instance at the place that the index says, as it says, and with all of its pixels."""
    places = {
        (row["batch"], row["offset"]): [*(row[name] for name in _SHARED), row["image"]]
        for row in index.select(["batch", "offset", *_SHARED, "image"]).to_pylist()
    }
    if len(places) != shard.num_rows:
        yield f"{shard.num_rows} instances, but {len(places)} in the index"
    for number, batch in enumerate(shard.to_batches()):
        for offset in range(batch.num_rows):
            (row,) = batch.slice(offset, 1).to_pylist()
            if places.get((number, offset)) != [*(row[name] for name in _SHARED), image_of(row)]:
                yield f"instance {row['instance_id']}: the index says something else"
            try:
                if not np.any(load_pixels(row)[..., 3]):
                    yield f"instance {row['instance_id']}: nothing of it can be seen"
            except (ValueError, OSError) as error:
                yield f"instance {row['instance_id']}: damaged ({error})"
