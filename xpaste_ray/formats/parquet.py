"""Parquet: one file a shard, one row a sample.

data/part-00000000-00000024.parquet   image<bytes, path>, height, width, ..., objects: list<struct>
categories.json                       what the category ids mean

`image` has the layout of Hugging Face `datasets`, and the files name their columns' features as that
library does: `datasets.load_dataset(folder, data_dir="data")` decodes the images.
`provenance` is JSON text, because its keys differ from source to source.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xpaste_ray.formats.contract import Add, DatasetSpec, Format, categories_to_json
from xpaste_ray.formats.findings import Finding, check_file_names
from xpaste_ray.formats.images import image_name
from xpaste_ray.formats.origins import told_origin
from xpaste_ray.formats.rules import check_sample_image
from xpaste_ray.formats.shards import Fragment, Shard
from xpaste_ray.runs import write_json, write_parquet
from xpaste_ray.samples import Annotation, Sample

DATA, CATEGORIES = "data", "categories.json"

_RLE = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
_OBJECT = pa.struct(
    [
        ("category_id", pa.int64()),
        ("bbox", pa.list_(pa.int32())),
        ("area", pa.int64()),
        ("iscrowd", pa.int8()),
        ("segmentation", _RLE),
        ("origin", pa.string()),
        ("source_id", pa.string()),
        ("instance_id", pa.string()),  # of the pool; null for the others
        ("visible_fraction", pa.float64()),
        ("z_order", pa.int32()),
        ("amodal", _RLE),
        ("provenance", pa.string()),
    ]
)
_COLUMNS = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("image_id", pa.int64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("background_id", pa.string()),
        ("neg_category_ids", pa.list_(pa.int64())),
        ("not_exhaustive_category_ids", pa.list_(pa.int64())),
        ("objects", pa.list_(_OBJECT)),
    ]
)


def _feature(kind: pa.DataType) -> Any:
    """A column's type as Hugging Face `datasets` writes it (`Features.to_dict`)."""
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if pa.types.is_list(kind):
        inner = _feature(kind.value_type)
        # a Sequence of a struct would be a struct of lists
        return [inner] if pa.types.is_struct(kind.value_type) else {"feature": inner, "_type": "Sequence"}
    dtype = "float64" if pa.types.is_float64(kind) else str(kind)  # pyarrow calls it double
    return {"dtype": dtype, "_type": "Value"}


def _features() -> dict[str, Any]:
    return {field.name: _feature(field.type) for field in _COLUMNS} | {"image": {"_type": "Image"}}


SCHEMA = _COLUMNS.with_metadata({"huggingface": json.dumps({"info": {"features": _features()}})})


def part_name(shard: Shard) -> str:
    return f"part-{shard.name}.parquet"


def _row(sample: Sample, image: bytes, spec: DatasetSpec) -> dict[str, Any]:
    return {
        "image": {"bytes": image, "path": image_name(sample.index, spec.encoding)},
        "image_id": sample.index + 1,
        "height": sample.height,
        "width": sample.width,
        "background_id": sample.background_id,
        "neg_category_ids": sample.neg_category_ids,
        "not_exhaustive_category_ids": sample.not_exhaustive_category_ids,
        "objects": [_object(annotation) for annotation in sample.annotations],
    }


def _object(annotation: Annotation) -> dict[str, Any]:
    origin = told_origin(annotation)
    provenance = origin.get("provenance")
    return {
        "category_id": annotation.category_id,
        "bbox": annotation.bbox,
        "area": annotation.area,
        "iscrowd": annotation.iscrowd,
        "segmentation": annotation.segmentation,
        "origin": annotation.origin,
        "source_id": annotation.source_id,
        "instance_id": origin.get("instance_id"),
        "visible_fraction": annotation.visible_fraction,
        "z_order": annotation.z_order,
        "amodal": annotation.amodal,
        "provenance": None if provenance is None else json.dumps(provenance),
    }


def table_of(samples: Sequence[Sample], images: Sequence[bytes], spec: DatasetSpec) -> pa.Table:
    """A row of `SCHEMA` for each sample and its encoded image."""
    rows = [_row(sample, image, spec) for sample, image in zip(samples, images, strict=True)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_shard(
    folder: Path, shard: Shard, samples: Sequence[Sample], images: Sequence[bytes], spec: DatasetSpec
) -> None:
    write_parquet(folder / DATA / part_name(shard), table_of(samples, images, spec))


@contextmanager
def finish(folder: Path, spec: DatasetSpec) -> Iterator[Add]:
    yield lambda sample, polygons: None
    write_json(folder / CATEGORIES, {"categories": categories_to_json(spec)})


def read_images(folder: Path, shard: Shard, spec: DatasetSpec) -> Iterator[bytes]:
    path = folder / DATA / part_name(shard)
    try:
        images = pq.read_table(path, columns=["image", "image_id"])
    except (pa.ArrowException, KeyError) as error:
        raise OSError(f"{path.name} is damaged: {error}") from error
    if images["image_id"].to_pylist() != [index + 1 for index in shard.indices]:
        raise OSError(f"{path.name} does not hold samples {shard.first} to {shard.last}")
    for image in images["image"]:
        yield image["bytes"].as_py()


def check(folder: Path, spec: DatasetSpec, fragments: Iterable[tuple[Shard, Fragment]]) -> Iterator[Finding]:
    names = set()
    for shard, fragment in fragments:
        names.add(part_name(shard))
        yield from _check_part(folder / DATA / part_name(shard), fragment, spec)
    yield from check_file_names(folder / DATA, names)
    if not (folder / CATEGORIES).is_file():
        yield Finding(rule="file_missing", text=f"{CATEGORIES} is missing")


def _check_part(path: Path, fragment: Fragment, spec: DatasetSpec) -> Iterator[Finding]:
    if not path.is_file():
        return  # named with the other missing files
    try:
        found = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        yield Finding(
            rule="file_damaged", text=f"{path.name} is not readable: {' '.join(str(error).split())}"
        )
        return
    if found.schema != SCHEMA or found.num_rows != len(fragment.samples):
        yield Finding(rule="entry_missing", text=f"{path.name} has other columns or rows than were written")
        return
    for row, sample in zip(found.to_pylist(), fragment.samples, strict=True):
        image = (row["image"] or {}).get("bytes") or b""
        name = image_name(sample.index, spec.encoding)
        yield from check_sample_image(image, f"{path.name}:{name}", sample)
        if row != table_of([sample], [image], spec).to_pylist()[0]:
            text = f"{path.name}: the row of sample {sample.index} was changed after it was written"
            yield Finding(rule="entry_differs", text=text, image_id=sample.index + 1)


FORMAT = Format(
    packed=lambda shard: f"{DATA}/{part_name(shard)}",
    write_shard=write_shard,
    finish=finish,
    read_images=read_images,
    check=check,
)
