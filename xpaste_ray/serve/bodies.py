"""Composed samples as one binary body, in parts as they come.

application/zip                       images/000000.jpg ..., annotations.json (COCO), plans.jsonl
multipart/mixed                       the same files, a part each
application/vnd.apache.arrow.stream   a row a sample, see `formats.parquet.SCHEMA`, and its plan as JSON
application/x-npz                     arrays, see `NpzBody`

The same samples give the same bytes, however they are divided.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco_mask

from xpaste_ray import __version__
from xpaste_ray.compose.compositor import Composed
from xpaste_ray.compose.plan import plan_to_row
from xpaste_ray.config import ImageFormat, OutputSettings
from xpaste_ray.formats import parquet
from xpaste_ray.formats.coco import annotation_entries, image_entry
from xpaste_ray.formats.contract import DatasetSpec
from xpaste_ray.formats.images import encode_image, encoding_of, image_name, sample_name
from xpaste_ray.formats.polygons import polygons_of
from xpaste_ray.serve.served import Served

ZIP = "application/zip"
MULTIPART = "multipart/mixed"
ARROW = "application/vnd.apache.arrow.stream"
NPZ = "application/x-npz"

IMAGE_TYPES: dict[ImageFormat, str] = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
FORMAT_OF = {media_type: name for name, media_type in IMAGE_TYPES.items()}
_BEGINNING_OF_TIME = (1980, 1, 1, 0, 0, 0)  # a zip's


class Body(Protocol):
    """media_type: with parameters. suffix: of a file with this body."""

    media_type: str
    suffix: str

    def add(self, composed: Sequence[Composed]) -> bytes:
        """The next samples."""
        ...

    def end(self) -> bytes: ...


def body_for(media_type: str, served: Served, output: OutputSettings, name: str) -> Body:
    """A body of one of `BODIES`. name: of the answer; the same one for the same bytes."""
    return BODIES[media_type](served, output, name)


class _Files:
    """Samples as files: images and plans as they come, the annotations at the end."""

    def __init__(self, served: Served, output: OutputSettings) -> None:
        self._served = served
        self._polygons = output.polygons
        self._spec = spec_of(served, output)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._plans: list[bytes] = []
        self._numbers = count(1)

    def add(self, composed: Sequence[Composed]) -> Iterator[tuple[str, str, bytes]]:
        """Name, media type and bytes of each file."""
        for one in composed:
            self._images.append(image_entry(one.sample, self._spec))
            entries = annotation_entries(one.sample, polygons_of(one.sample) if self._polygons else None)
            self._annotations += [{"id": next(self._numbers)} | entry for entry in entries]
            self._plans.append(_compact(plan_to_row(one.plan)) + b"\n")
            encoding = self._spec.encoding
            name = f"images/{image_name(one.sample.index, encoding)}"
            yield name, IMAGE_TYPES[encoding.format], encode_image(one.image, encoding)

    def end(self) -> Iterator[tuple[str, str, bytes]]:
        head = {"info": dict(self._spec.info), "licenses": [], "images": self._images}
        told = head | {"annotations": self._annotations}
        coco = _compact(told)[:-1] + b',"categories":' + self._served.categories_json + b"}\n"
        yield "annotations.json", "application/json", coco
        yield "plans.jsonl", "application/jsonl", b"".join(self._plans)


class ZipBody:
    media_type, suffix = ZIP, ".zip"

    def __init__(self, served: Served, output: OutputSettings, name: str) -> None:
        self._files = _Files(served, output)
        self._zip = _ZipStream()

    def add(self, composed: Sequence[Composed]) -> bytes:
        for name, _, data in self._files.add(composed):
            self._zip.write(name, data)
        return self._zip.take()

    def end(self) -> bytes:
        for name, _, data in self._files.end():
            self._zip.write(name, data)
        return self._zip.close()


class MultipartBody:
    """RFC 2046; a part's file name is in its Content-Disposition."""

    suffix = ".multipart"

    def __init__(self, served: Served, output: OutputSettings, name: str) -> None:
        self._files = _Files(served, output)
        self._boundary = f"xpaste-{name}"  # of the answer's fingerprint: no image knows it
        self.media_type = f"{MULTIPART}; boundary={self._boundary}"

    def add(self, composed: Sequence[Composed]) -> bytes:
        return b"".join(self._part(*file) for file in self._files.add(composed))

    def end(self) -> bytes:
        parts = b"".join(self._part(*file) for file in self._files.end())
        return parts + f"--{self._boundary}--\r\n".encode()

    def _part(self, name: str, media_type: str, data: bytes) -> bytes:
        head = (
            f"--{self._boundary}\r\nContent-Type: {media_type}\r\nContent-Length: {len(data)}\r\n"
            f'Content-Disposition: attachment; filename="{name}"\r\n\r\n'
        )
        return head.encode() + data + b"\r\n"


class ArrowBody:
    media_type, suffix = ARROW, ".arrows"

    def __init__(self, served: Served, output: OutputSettings, name: str) -> None:
        self._spec = spec_of(served, output)
        self._sink = _Pending()
        self._writer = pa.ipc.new_stream(self._sink, ARROW_SCHEMA)

    def add(self, composed: Sequence[Composed]) -> bytes:
        for one in composed:  # a batch a sample: it does not matter how many come at a time
            image = encode_image(one.image, self._spec.encoding)
            row = parquet.table_of([one.sample], [image], self._spec)
            plan = pa.array([_compact(plan_to_row(one.plan)).decode()], pa.string())
            whole = row.replace_schema_metadata(None).append_column("plan", plan)
            self._writer.write_table(whole)
        return self._sink.take()

    def end(self) -> bytes:
        self._writer.close()
        return self._sink.take()


ARROW_SCHEMA = parquet.SCHEMA.remove_metadata().append(pa.field("plan", pa.string()))


class NpzBody:
    """What `numpy.load` reads. Of sample i, with six digits:

    image_i: (H, W, 3) uint8 RGB. masks_i: (n, H, ceil(W / 8)) uint8, what is seen of each object, as
    `np.packbits(..., axis=-1)` gives it: `np.unpackbits(masks, axis=-1, count=W)`. boxes_i: (n, 4) float32,
    xyxy in pixels. labels_i: (n,) int64, category ids. pasted_i: (n,) bool, false for the background's own.
    """

    media_type, suffix = NPZ, ".npz"

    def __init__(self, served: Served, output: OutputSettings, name: str) -> None:
        self._zip = _ZipStream()

    def add(self, composed: Sequence[Composed]) -> bytes:
        for one in composed:
            for name, array in _arrays(one).items():
                data = io.BytesIO()
                np.lib.format.write_array(data, array, allow_pickle=False)
                self._zip.write(f"{name}_{sample_name(one.sample.index)}.npy", data.getbuffer())
        return self._zip.take()

    def end(self) -> bytes:
        return self._zip.close()


BODIES: dict[str, Callable[[Served, OutputSettings, str], Body]] = {
    ZIP: ZipBody, ARROW: ArrowBody, NPZ: NpzBody, MULTIPART: MultipartBody,
}  # fmt: skip


def _arrays(one: Composed) -> dict[str, np.ndarray]:
    annotations, size_hw = one.sample.annotations, (one.sample.height, one.sample.width)
    masks = np.zeros((len(annotations), size_hw[0], -(-size_hw[1] // 8)), np.uint8)
    for mask, annotation in zip(masks, annotations, strict=True):
        mask[:] = np.packbits(coco_mask.decode(annotation.segmentation), axis=-1)
    x, y, width, height = np.array([a.bbox for a in annotations], np.float32).reshape(-1, 4).T
    return {
        "image": one.image,
        "masks": masks,
        "boxes": np.stack([x, y, x + width, y + height], axis=1),
        "labels": np.array([a.category_id for a in annotations], np.int64),
        "pasted": np.array([a.origin != "background" for a in annotations], bool),
    }


def spec_of(served: Served, output: OutputSettings) -> DatasetSpec:
    """What the answer would be as a dataset."""
    versions = served.versions
    return DatasetSpec(
        recipe="",
        formats=("coco",),
        encoding=encoding_of(output),
        categories=(),  # told by `Served.categories_json`
        count=1,
        samples_per_shard=1,
        info={
            "description": "composed by xpaste_ray",
            "version": __version__,
            "pool_version": versions.pool,
            "backgrounds_version": versions.backgrounds,
        },
    )


_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)  # that check is a fifth of the time


def _compact(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()


class _Pending(io.RawIOBase):
    """A file of which only what was written since the last `take` is held; it can be changed until then."""

    def __init__(self) -> None:
        self._base, self._data = 0, io.BytesIO()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._data.write(data)

    def tell(self) -> int:
        return self._base + self._data.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            offset -= self._base
        return self._base + self._data.seek(offset, whence)

    def close(self) -> None:
        """Stays open: a zip that was left halfway writes its end when it is forgotten, maybe after this."""

    def take(self) -> bytes:
        data = self._data.getvalue()
        self._base, self._data = self._base + len(data), io.BytesIO()
        return data


class _ZipStream:
    """A zip of stored files, without times of its own: for readers of any kind, and the same bytes always,
    which no compression promises."""

    def __init__(self) -> None:
        self._pending = _Pending()
        self._zip = zipfile.ZipFile(self._pending, "w")

    def write(self, name: str, data: Any) -> None:
        info = zipfile.ZipInfo(name, _BEGINNING_OF_TIME)
        info.external_attr = 0o644 << 16
        info.create_system = 3  # Unix, wherever it is made
        self._zip.writestr(info, data, zipfile.ZIP_STORED)

    def take(self) -> bytes:
        return self._pending.take()

    def close(self) -> bytes:
        self._zip.close()
        return self._pending.take()
