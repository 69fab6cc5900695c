"""Lists of images that a user brings: CSV, JSONL or Parquet with named columns."""

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_stream
from xpaste_ray.storage import Location

Names = Mapping[str, Sequence[str]]
"""What a column may be called, in lower case, by what it is to us; the first that a file has counts."""


def read_index(
    place: Location,
    option: str,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    also_called: Names = MappingProxyType({}),
) -> tuple[pa.Table, str, int]:
    """The columns as text, where the needed ones are not empty, in the file's order; the hash of the file;
    how many rows were left out. Optional columns that the file lacks are null.

    option: where the user named the file, for ConfigError, which tells what is wrong with it. also_called:
    other names of the columns; upper and lower case are the same.
    """
    wanted = {name: (name, *also_called.get(name, ())) for name in (*needed, *optional)}
    try:
        with place.open() as file:
            content_hash = hash_stream(file)
        with place.open() as file:
            found = _reader_of(place.name)(file, wanted)
    except FileNotFoundError:
        raise ConfigError(f"{option}: {place} does not exist") from None
    except (ValueError, OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{option}: {place} is not readable ({error}): give a file {', '.join(SUFFIXES)} with the "
            f"columns {' and '.join(needed)}"
        ) from None
    for name in needed:
        if name not in found:
            has = ", ".join(found) or "none"
            names = " or ".join(map(repr, wanted[name]))
            raise ConfigError(f"{option}: {place} has no column {names}; of those that count, it has {has}")
    rows = len(found[needed[0]])
    columns = {}
    for name in wanted:
        column = found[name] if name in found else pa.nulls(rows)
        try:
            columns[name] = _stripped(column.cast(pa.string()))
        except pa.ArrowException:
            raise ConfigError(
                f"{option}: {place}: the column {name!r} is {column.type}: it must be text"
            ) from None
    texts = pa.table(columns)
    usable = texts.filter(_all_there(texts, needed))
    return usable, content_hash, len(texts) - len(usable)


Columns = dict[str, pa.ChunkedArray | pa.Array]
"""Of a file, by what they are to us."""


def _read_parquet(data: IO[bytes], wanted: Names) -> Columns:
    file = pq.ParquetFile(data)
    theirs = _named_in(file.schema_arrow.names, wanted)
    table = file.read(sorted(set(theirs.values())))
    return {ours: table[name] for ours, name in theirs.items()}


def _read_csv(data: IO[bytes], wanted: Names) -> Columns:
    """All as text, or Arrow would make a number of the category 007."""
    content = data.read()
    parse = pacsv.ParseOptions(newlines_in_values=True)
    theirs = _named_in(pacsv.open_csv(io.BytesIO(content), parse_options=parse).schema.names, wanted)
    texts = pacsv.ConvertOptions(
        column_types=dict.fromkeys(theirs.values(), pa.string()),
        include_columns=sorted(set(theirs.values())),
        strings_can_be_null=True,
        null_values=[""],
    )
    if not theirs:
        return {}
    table = pacsv.read_csv(io.BytesIO(content), None, parse, texts)
    return {ours: table[name] for ours, name in theirs.items()}


def _named_in(names: Iterable[str], wanted: Names) -> dict[str, str]:
    """What a file calls each of the columns that it has."""
    given = {name.lower(): name for name in reversed(list(names))}
    found = {
        ours: next((given[name] for name in several if name in given), None)
        for ours, several in wanted.items()
    }
    return {ours: name for ours, name in found.items() if name is not None}


def _read_lines(data: IO[bytes], wanted: Names) -> Columns:
    columns: dict[str, list[str | None]] = {name: [] for name in wanted}
    seen: set[str] = set()
    for number, line in enumerate(io.TextIOWrapper(data, "utf-8-sig", newline="\n"), 1):
        if not line.strip():
            continue
        entry = json.loads(line)
        if not isinstance(entry, dict):
            raise ValueError(f"line {number} is no object")
        theirs = _named_in(entry, wanted)
        seen.update(theirs)
        for ours, values in columns.items():
            values.append(_text(entry.get(theirs.get(ours, ours)), f"line {number}: {ours}"))
    return {name: pa.array(columns[name], pa.string()) for name in wanted if name in seen}


def _text(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{where} must be text, got {json.dumps(value)}")
    return str(value)


_READERS: Mapping[str, Callable[[IO[bytes], Names], Columns]] = {
    ".csv": _read_csv,
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".parquet": _read_parquet,
}
SUFFIXES = tuple(_READERS)


def is_index_file(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _reader_of(name: str) -> Callable[[IO[bytes], Names], Columns]:
    """ValueError if it is none of these."""
    for suffix, reader in _READERS.items():
        if name.lower().endswith(suffix):
            return reader
    raise ValueError("its name tells no format")


def _stripped(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Without space around, and null where nothing is left."""
    texts = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(texts, ""), None, texts)


def _all_there(texts: pa.Table, needed: Sequence[str]) -> pa.ChunkedArray:
    there = pc.is_valid(texts[needed[0]])
    for name in needed[1:]:
        there = pc.and_(there, pc.is_valid(texts[name]))
    return there
