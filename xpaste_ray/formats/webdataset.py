"""WebDataset: one tar a shard.

shard-00000000-00000024.tar   000000.jpg, 000000.json, 000001.jpg, ...
categories.json               what the category ids mean

A sample's JSON is the record of `samples` with the image's `file_name` and each annotation's
`instance_id`. Members have a fixed time,
owner and mode, so that the same samples give the same tar.
"""

import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from xpaste_ray.formats.contract import Add, DatasetSpec, Format, categories_to_json
from xpaste_ray.formats.findings import Finding, check_file_names
from xpaste_ray.formats.images import image_name, sample_name
from xpaste_ray.formats.origins import told_origin
from xpaste_ray.formats.rules import check_sample_image
from xpaste_ray.formats.shards import Fragment, Shard
from xpaste_ray.runs import write_json, write_whole
from xpaste_ray.samples import Sample, sample_to_json

CATEGORIES = "categories.json"


def tar_name(shard: Shard) -> str:
    return f"shard-{shard.name}.tar"


def record(sample: Sample, spec: DatasetSpec) -> dict[str, Any]:
    """The sample's JSON."""
    value = {"file_name": image_name(sample.index, spec.encoding), **sample_to_json(sample)}
    pairs = zip(value["annotations"], sample.annotations, strict=True)
    value["annotations"] = [entry | told_origin(annotation) for entry, annotation in pairs]
    return value


def write_shard(
    folder: Path, shard: Shard, samples: Sequence[Sample], images: Sequence[bytes], spec: DatasetSpec
) -> None:
    sink = BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample, image in zip(samples, images, strict=True):
            _add(tar, image_name(sample.index, spec.encoding), image)
            text = json.dumps(record(sample, spec), separators=(",", ":"))
            _add(tar, f"{sample_name(sample.index)}.json", text.encode())
    write_whole(folder / tar_name(shard), sink.getvalue())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # time, owner and group are 0, the mode is 0644
    member.size = len(data)
    tar.addfile(member, BytesIO(data))


@contextmanager
def finish(folder: Path, spec: DatasetSpec) -> Iterator[Add]:
    yield lambda sample, polygons: None
    write_json(folder / CATEGORIES, {"categories": categories_to_json(spec)})


def read_members(path: Path) -> dict[str, bytes]:
    """All members of a tar. OSError if it is missing or no whole tar."""
    try:
        with tarfile.open(path, "r:") as tar:
            return {member.name: _content(tar, member) for member in tar}
    except tarfile.TarError as error:
        raise OSError(f"{path.name} is damaged: {error}") from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""


def read_images(folder: Path, shard: Shard, spec: DatasetSpec) -> Iterator[bytes]:
    members = read_members(folder / tar_name(shard))
    for index in shard.indices:
        name = image_name(index, spec.encoding)
        if name not in members:
            raise OSError(f"{tar_name(shard)} has no {name}")
        yield members[name]


def check(folder: Path, spec: DatasetSpec, fragments: Iterable[tuple[Shard, Fragment]]) -> Iterator[Finding]:
    names = {CATEGORIES}
    for shard, fragment in fragments:
        names.add(tar_name(shard))
        yield from _check_tar(folder / tar_name(shard), fragment, spec)
    yield from check_file_names(folder, names, suffix=".tar")


def _check_tar(path: Path, fragment: Fragment, spec: DatasetSpec) -> Iterator[Finding]:
    if not path.is_file():
        return  # named with the other missing files
    try:
        members = read_members(path)
    except OSError as error:
        yield Finding(rule="file_damaged", text=str(error))
        return
    for sample in fragment.samples:
        image_id, name = sample.index + 1, f"{path.name}:{image_name(sample.index, spec.encoding)}"
        image = members.pop(image_name(sample.index, spec.encoding), None)
        text = members.pop(f"{sample_name(sample.index)}.json", None)
        if image is None or text is None:
            yield Finding(rule="entry_missing", text=f"{name} or its JSON is missing", image_id=image_id)
            continue
        yield from check_sample_image(image, name, sample)
        if not _is_record(text, record(sample, spec)):
            yield Finding(
                rule="entry_differs",
                text=f"{name}: its JSON was changed after it was written",
                image_id=image_id,
            )
    for name in members:
        yield Finding(rule="entry_stray", text=f"{path.name} has {name}, which does not belong to it")


def _is_record(text: bytes, expected: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(text) == json.loads(json.dumps(expected)))
    except ValueError:
        return False


FORMAT = Format(
    packed=tar_name,
    write_shard=write_shard,
    finish=finish,
    read_images=read_images,
    check=check,
)
