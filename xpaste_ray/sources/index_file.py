"""Lists of images that a user brings: CSV, JSONL or Parquet with named columns."""

import io
import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.storage import Location

SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")


def is_index_file(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def read_index(
    place: Location, option: str, needed: Sequence[str], optional: Sequence[str] = ()
) -> tuple[pa.Table, str, int]:
    """The columns as text, where the needed ones are not empty, in the file's order; the hash of the file;
    how many rows were left out. Optional columns that the file lacks are null.

    option: where the user named the file, for ConfigError, which tells what is wrong with it.
    """
    try:
        data = place.read_bytes()
        table = _read(place.name.lower(), data, (*needed, *optional))
    except FileNotFoundError:
        raise ConfigError(f"{option}: {place} does not exist") from None
    except (ValueError, OSError, pa.ArrowException) as error:  # ArrowInvalid is a ValueError
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{option}: {place} is not readable: {error}") from None
    for name in needed:
        if name not in table.column_names:
            has = ", ".join(table.column_names) or "none"
            raise ConfigError(f"{option}: {place} has no column {name!r}; of those that count, it has {has}")
    columns = {}
    for name in (*needed, *optional):
        column = table[name] if name in table.column_names else pa.nulls(len(table))
        try:
            columns[name] = _stripped(column.cast(pa.string()))
        except pa.ArrowException:
            raise ConfigError(
                f"{option}: {place}: the column {name!r} is {column.type}: it must be text"
            ) from None
    texts = pa.table(columns)
    usable = texts.filter(_all_there(texts, needed))
    return usable, hash_bytes(data), len(texts) - len(usable)


def _read(name: str, data: bytes, wanted: Sequence[str]) -> pa.Table:
    if name.endswith(".parquet"):
        file = pq.ParquetFile(io.BytesIO(data))
        return file.read([column for column in wanted if column in file.schema_arrow.names])
    if name.endswith(".csv"):
        return _read_csv(data, wanted)
    return _read_lines(data, wanted)


def _read_csv(data: bytes, wanted: Sequence[str]) -> pa.Table:
    """All as text, or Arrow would make a number of the category 007."""
    if not data.strip():
        raise ValueError("it is empty: its first line must name the columns")
    parse = pacsv.ParseOptions(newlines_in_values=True)
    texts = pacsv.ConvertOptions(
        column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    table = pacsv.read_csv(io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")), None, parse, texts)
    return table.select([name for name in table.column_names if name in wanted])


def _read_lines(data: bytes, wanted: Sequence[str]) -> pa.Table:
    columns: dict[str, list[str | None]] = {name: [] for name in wanted}
    seen: set[str] = set()
    for number, line in enumerate(data.decode("utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        entry = json.loads(line)
        if not isinstance(entry, dict):
            raise ValueError(f"line {number} is no object")
        seen.update(entry)
        for name, values in columns.items():
            value = entry.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
                raise ValueError(f"line {number}: {name} must be text, got {json.dumps(value)}")
            values.append(None if value is None else str(value))
    return pa.table({name: pa.array(columns[name], pa.string()) for name in wanted if name in seen})


def _stripped(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Without space around, and null where nothing is left."""
    texts = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(texts, ""), None, texts)


def _all_there(texts: pa.Table, needed: Sequence[str]) -> pa.ChunkedArray:
    there = pc.is_valid(texts[needed[0]])
    for name in needed[1:]:
        there = pc.and_(there, pc.is_valid(texts[name]))
    return there
