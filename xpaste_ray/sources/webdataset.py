"""Tars of img2dataset: 00000.tar with 000000012.jpg, .txt and .json, and so on.

A sample's JSON (its `url`, `caption`, `status`, sizes, and the columns that `save_additional_columns` kept)
is where its category stands, its licence and its page, if they are known. The tars stay as they are: a
listing knows where in them each image's bytes begin, which are then read by themselves. Listing reads a tar
once; what was found is kept in the user's cache. Format: img2dataset, `writer.py::WebDatasetSampleWriter`.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xpaste_ray.cache import default_cache_dir, only_one
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.runs import write_parquet
from xpaste_ray.sources.found import LISTING, count_of, hash_lines, listing_of, utf8
from xpaste_ray.storage import Location, Stamp

_IMAGES = ("jpg", "jpeg", "png", "webp")
_FORMAT = 1  # of what is kept in the cache
_TARS_AT_ONCE = 8
_BUFFER_BYTES = 1 << 20  # tars of an object store: a request a megabyte, not one a member
_MAX_RECORD_BYTES = 16 * 1024**2
_LICENCE, _PAGE = ("licence", "license"), ("page", "url")
_OUTCOMES = pa.schema([*LISTING, pa.field("left_out", pa.string())])


@dataclass(frozen=True, slots=True)
class Member:
    """Where an image's bytes are: below the folder of the tars."""

    tar: str
    name: str
    offset: int
    size: int

    @property
    def uri(self) -> str:
        return f"{self.tar}#{self.name}@{self.offset}+{self.size}"

    @classmethod
    def of(cls, uri: str) -> "Member":
        head, _, place = uri.rpartition("@")
        tar, _, name = head.partition("#")
        offset, _, size = place.partition("+")
        return cls(tar, name, int(offset), int(size))


class Tars:
    """What the tars of a folder list, or one tar. root: their names are relative to it."""

    def __init__(
        self, place: Location, option: str, category_key: str, cache_dir: Path | None = None
    ) -> None:
        """ConfigError if there is no tar, one is damaged, or none of the images has a category."""
        self.root, tars = _tars(place, option)
        cache = cache_dir or default_cache_dir()
        with ThreadPoolExecutor(_TARS_AT_ONCE) as threads:
            tables = threads.map(
                lambda tar: _listed(self.root / tar, tar, tars[tar], category_key, option, cache), tars
            )
            found = pa.concat_tables(tables)
        usable = found.filter(found["left_out"].is_null()) if len(found) else found
        self.listing = usable.drop_columns(["left_out"])
        self.notes = [
            f"{count_of(one['counts'], 'sample')} left out: {one['values']}"
            for one in found["left_out"].drop_null().value_counts().to_pylist()
        ]
        if len(found) and not len(usable):
            raise ConfigError(
                f"{option}: no sample of {place} is usable ({'; '.join(self.notes)}): let img2dataset keep "
                "the column with the category (save_additional_columns), and name it, as category_key"
            )
        # Not the tars' sizes: writers fill the last ten kilobytes up.
        told = zip(*(self.listing[name].to_pylist() for name in ("uri", "category")), strict=True)
        self.contents = hash_lines(text for pair in told for text in pair)


def _tars(place: Location, option: str) -> tuple[Location, dict[str, Stamp]]:
    if place.is_dir():
        root, tars = place, place.stamps(".tar")
    elif place.is_file():
        root, tars = place.parent, {place.name: place.stamp()}
    else:
        raise ConfigError(f"{option}: {place} is neither a tar nor a folder of tars")
    if not tars:
        raise ConfigError(f"{option}: {place} holds no .tar file")
    for name in tars:
        if "#" in name:
            raise ConfigError(f"{option}: {name}: the name of a tar must not have a #: rename it")
    return root, tars


def _listed(
    tar: Location, name: str, stamp: Stamp, category_key: str, option: str, cache_dir: Path
) -> pa.Table:
    """A tar's images, of `_OUTCOMES`, from the cache if the tar has not changed."""
    told = {
        "format": _FORMAT,
        "tar": utf8(str(tar)),
        "name": utf8(name),
        "stamp": list(stamp),
        "category": category_key,
    }
    kept = cache_dir / "tars" / f"{fingerprint(told)}.parquet"
    if not kept.is_file():
        with only_one(kept):
            if not kept.is_file():
                write_parquet(kept, _table(list(_samples(tar, name, category_key, option))))
    return pq.read_table(kept)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    left_out = pa.array([row.get("left_out") for row in rows], pa.string())
    listed = listing_of(
        {key: [row.get(key) for row in rows] for key in ("category", "uri", "licence", "page")}
    )
    return listed.append_column(_OUTCOMES.field("left_out"), left_out)


def _samples(tar: Location, name: str, category_key: str, option: str) -> Iterator[dict[str, Any]]:
    """A row a sample with an image, in the tar's order."""
    images: dict[str, Member] = {}
    records: dict[str, Any] = {}
    try:
        with (
            tar.open() as file,
            io.BufferedReader(_Raw(file), _BUFFER_BYTES) as buffered,
            tarfile.open(fileobj=buffered, mode="r:") as members,
        ):
            for member in members:
                key, _, kind = member.name.rpartition(".")
                if member.isfile() and kind.lower() in _IMAGES:
                    images.setdefault(key, Member(name, utf8(member.name), member.offset_data, member.size))
                elif member.isfile() and kind.lower() == "json":
                    records[key] = _record(members, member)
    except tarfile.TarError as error:
        raise ConfigError(f"{option}: {tar} is damaged ({error}): download it again, or remove it") from None
    for key, image in images.items():
        yield {"category": "", "uri": image.uri, **_told(records.get(key), category_key)}


def _record(members: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    file = members.extractfile(member) if member.size <= _MAX_RECORD_BYTES else None
    try:
        return json.loads(file.read()) if file else None
    except ValueError:
        return None


def _told(record: Any, category_key: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        return {"left_out": "no readable .json beside the image"}
    category = record.get(category_key)
    if isinstance(category, bool) or not isinstance(category, str | int) or not str(category).strip():
        return {"left_out": f"no {category_key!r} in the .json"}
    return {
        "category": str(category).strip(), "licence": _first(record, _LICENCE), "page": _first(record, _PAGE)
    }  # fmt: skip


def _first(record: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((value for key in keys if isinstance(value := record.get(key), str) and value), None)


class _Raw(io.RawIOBase):
    """What pyarrow opened, as Python's own buffers want it."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
