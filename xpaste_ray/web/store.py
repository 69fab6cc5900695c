"""What was fetched, kept: the bytes of a unit's URLs, in one file.

A URL gives other bytes tomorrow, or none. So what came is what counts from then on: a unit that runs again
reads it here, and only what failed for a passing reason, or is damaged, is fetched again.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.runs import open_parquet, write_parquet
from xpaste_ray.storage import Location
from xpaste_ray.web.fetch import Fetched

FETCHED = pa.schema(
    [
        pa.field("candidate_id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("final_url", pa.string()),
        pa.field("http_status", pa.int32()),
        pa.field("reason", pa.string()),
        pa.field("transient", pa.bool_(), nullable=False),
        pa.field("content_type", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("body", pa.large_binary()),
    ]
)
"""`fetched/<round>/unit-<number>.parquet`: a row a candidate whose URL was asked."""


def read_fetched(file: Location, urls: Mapping[str, str]) -> dict[str, Fetched]:
    """What is kept of these candidates' URLs, by candidate, but for what is to be fetched again."""
    return {
        row["candidate_id"]: _fetched(row)
        for row in _rows(file)
        if row["url"] == urls.get(row["candidate_id"]) and not row["transient"] and _is_whole(row)
    }


def add_fetched(file: Location, fetched: Mapping[str, Fetched]) -> None:
    """Keep what came, by candidate, beside what the file has of others."""
    kept = [row for row in _rows(file) if row["candidate_id"] not in fetched]
    new = [_row(candidate_id, one) for candidate_id, one in fetched.items()]
    write_parquet(file, pa.Table.from_pylist([*kept, *new], schema=FETCHED))


def _rows(file: Location) -> Iterable[dict[str, Any]]:
    """None of a file that is missing or damaged."""
    try:
        rows: list[dict[str, Any]] = open_parquet(file).read().cast(FETCHED).to_pylist()
    except (OSError, ValueError):
        return []
    return rows


def _is_whole(row: Mapping[str, Any]) -> bool:
    body = row["body"]
    return hash_bytes(body) == row["content_hash"] if body is not None else row["reason"] is not None


def _row(candidate_id: str, fetched: Fetched) -> dict[str, Any]:
    return {
        "candidate_id": candidate_id,
        "url": fetched.url,
        "final_url": fetched.final_url,
        "http_status": fetched.http_status,
        "reason": fetched.reason,
        "transient": fetched.transient,
        "content_type": fetched.content_type,
        "content_hash": None if fetched.body is None else hash_bytes(fetched.body),
        "body": fetched.body,
    }


def _fetched(row: Mapping[str, Any]) -> Fetched:
    return Fetched(
        row["url"], row["body"], row["reason"], row["transient"], row["final_url"], row["http_status"],
        row["content_type"],
    )  # fmt: skip
