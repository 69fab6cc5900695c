"""A Parquet file of images, or a folder of them, as datasets are published on the Hugging Face Hub."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xpaste_ray.backgrounds.sources import (
    MAX_FILE_BYTES,
    Catalogue,
    ImageFiles,
    Place,
    Stamp,
    items_table,
    list_files,
)
from xpaste_ray.errors import ConfigError, RowError

_ROWS_AT_ONCE = 16
_SUFFIXES = frozenset([".parquet"])


@dataclass(frozen=True, slots=True)
class ParquetSource(ImageFiles):
    """Images in a column of encoded bytes: binary, or a struct with `bytes`.

    Ids are "<file>#<row in the file>". A row is found by its file, row group and row: loading one
    reads its row group's image column up to it, so files with small row groups (the Hub writes 100
    rows) serve random access better.
    """

    root: Path  # a folder; names are relative to it
    column: str
    names: tuple[str, ...] | None = None  # of its files; None: every Parquet file below it
    kind: str = "parquet"

    def state(self) -> dict[str, Any]:
        return {"root": str(self.root.resolve()), "column": self.column, "files": self._files()}

    def catalogue(self) -> Catalogue:
        columns: dict[str, list[Any]] = {name: [] for name in ("id", "path", "row_group", "row")}
        for name, _, _ in self._files():
            file = _open(self.root / name)
            image_column(file.schema_arrow, self.root / name, self.column)
            number = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                columns["id"] += [f"{name}#{number + row}" for row in range(rows)]
                columns["path"] += [name] * rows
                columns["row_group"] += [group] * rows
                columns["row"] += range(rows)
                number += rows
        if not columns["id"]:
            raise ConfigError(f"backgrounds: the Parquet files in {self.root} have no rows")
        return Catalogue(items_table(columns))

    def fetch(self, places: Sequence[Place]) -> Iterator[bytes | RowError]:
        """Rows of one row group that follow each other are read in one pass."""
        for (path, group), members in groupby(places, key=lambda place: (place.path, place.row_group)):
            assert group is not None
            yield from self._fetch_from(path, group, [place.row or 0 for place in members])

    def _fetch_from(self, path: str, group: int, rows: list[int]) -> Iterator[bytes | RowError]:
        """`rows` ascend. What a file that went away or is no longer the same lacks is missing."""
        done = 0
        try:
            for number, value in self._values(self.root / path, group):
                if number == rows[done]:
                    done += 1
                    yield _image_bytes(value)
                if done == len(rows):
                    return
        except (OSError, KeyError, pa.ArrowInvalid, ConfigError):
            pass
        yield from (RowError("missing_file", path) for _ in rows[done:])

    def _values(self, path: Path, group: int) -> Iterator[tuple[int, pa.Scalar]]:
        file = _open(path)
        kind = file.schema_arrow.field(self.column).type
        name = f"{self.column}.bytes" if pa.types.is_struct(kind) else self.column
        first = 0
        for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[name]):
            column = batch.column(0)
            if pa.types.is_struct(column.type):
                column = column.field("bytes")
            yield from enumerate(column, first)
            first += len(column)

    def _files(self) -> list[Stamp]:
        if self.names is None:
            return list_files(self.root, _SUFFIXES)
        stats = [(self.root / name).stat() for name in self.names]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in zip(self.names, stats, strict=True)]


def has_parquet(folder: Path) -> bool:
    return bool(list_files(folder, _SUFFIXES))


def open_parquet(path: Path, column: str | None = None) -> ParquetSource:
    """The source for a Parquet file, or for a folder with some.

    column: its name, if it is not `image` or the only one with encoded images. ConfigError if there
    is none.
    """
    if path.is_dir():
        first = path / list_files(path, _SUFFIXES)[0][0]
        return ParquetSource(path, image_column(_open(first).schema_arrow, first, column))
    return ParquetSource(path.parent, image_column(_open(path).schema_arrow, path, column), (path.name,))


def image_column(schema: pa.Schema, path: Path, column: str | None) -> str:
    """The column of encoded images: the given one, `image`, or the only one that can be it."""
    possible = [entry.name for entry in schema if _holds_bytes(entry.type)]
    if column is None:
        column = "image" if "image" in possible else possible[0] if len(possible) == 1 else None
    if column is None or column not in possible:
        found = f"it could be {', '.join(possible)}" if possible else "no column is binary"
        raise ConfigError(f"backgrounds: {path} has no image column {column or 'image'!r} ({found})")
    return column


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _image_bytes(value: pa.Scalar) -> bytes | RowError:
    if not value.is_valid:
        return RowError("missing_file", "no bytes in this row")
    if len(value.as_buffer()) > MAX_FILE_BYTES:
        return RowError("file_too_large")
    data: bytes = value.as_py()
    return data


def _open(path: Path) -> pq.ParquetFile:
    """Kept open, and opened again if the file changes. ConfigError if it is not Parquet."""
    try:
        status = path.stat()
        return _open_state(str(path), status.st_size, status.st_mtime_ns, os.getpid())
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"backgrounds: {path} is not readable as Parquet ({error})") from None


@lru_cache(maxsize=64)
def _open_state(path: str, size: int, changed_ns: int, process: int) -> pq.ParquetFile:
    return pq.ParquetFile(path, memory_map=True)
