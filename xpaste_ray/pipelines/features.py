"""`features/`: of each category, its segments' features, in the order in which the loop reads them.

Gathered once from the unit files; choosing again, with other settings, reads these.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
import pyarrow as pa

from xpaste_ray.errors import RunError, SchemaError
from xpaste_ray.fingerprints import fingerprint, hash_stream
from xpaste_ray.foregrounds import CategorySegments
from xpaste_ray.pipelines.job import Progress
from xpaste_ray.pipelines.scores import stored_embeddings
from xpaste_ray.runs import RunDir, made_by, open_parquet, whole_parquet
from xpaste_ray.selection import Vectors
from xpaste_ray.storage import Location

_FORMAT = 1  # raised when what is written for the same scores changes
ROWS_PER_GROUP = 8192
_ROWS_AT_ONCE = 4_000_000  # 4 GiB of a classifier with 512 numbers, on the local disk


def features_schema(width: int) -> pa.Schema:
    """A row a segment, by image (index, then candidate's id), method and ordinal. feature: `width` float16
    numbers, as bytes (little-endian): as a list they take five times as long to write and to read. NaN stands
    for none."""
    return pa.schema(
        [
            pa.field("candidate_id", pa.string(), nullable=False),
            pa.field("method", pa.string(), nullable=False),
            pa.field("ordinal", pa.int32(), nullable=False),
            pa.field("feature", pa.binary(2 * width), nullable=False),
        ]
    )


def feature_file(run: RunDir, category_id: int) -> Location:
    return run.features / f"{category_id}.parquet"


def features_recipe(run: RunDir, recipe: str) -> str:
    """Of the feature files, which say nothing of the settings of the choice. recipe: the fingerprint of the
    step that made the unit files: under the same one, --retry-failed adds to the score table.
    FileNotFoundError if there is none."""
    with run.scores.open() as data:
        return fingerprint({"format": _FORMAT, "recipe": recipe, "scores": hash_stream(data)})


def write_features(
    run: RunDir, scores: pa.Table, segments: Sequence[CategorySegments], recipe: str, progress: Progress
) -> None:
    """Write the files of those categories that are not there yet, or were made from other scores. scores: the
    run's whole table, with the columns that `segments_of` reads. SchemaError if a segment has no feature."""
    missing = [one for one in segments if made_by(feature_file(run, one.category_id)) != recipe]
    if missing:
        rows = sum(len(one.rows) for one in missing)
        progress.say(f"gathering the features of {rows:,} segments by category ({len(missing)} of them)")
    for some in _groups(missing):
        with stored_embeddings(run, scores) as embeddings:
            vectors = embeddings(np.concatenate([one.rows for one in some]))
            start = 0
            for one in some:
                _write(run, scores, one, recipe, vectors, start)
                start += len(one.rows)


def _groups(segments: Sequence[CategorySegments]) -> Iterator[list[CategorySegments]]:
    """Categories whose features are gathered together: each time, all of their unit files are read."""
    some: list[CategorySegments] = []
    for one in segments:
        if some and sum(len(each.rows) for each in (*some, one)) > _ROWS_AT_ONCE:
            yield some
            some = []
        some.append(one)
    if some:
        yield some


def _write(
    run: RunDir, scores: pa.Table, one: CategorySegments, recipe: str, vectors: Vectors, start: int
) -> None:
    width = vectors[start : start + 1].shape[1]
    if not width:
        raise SchemaError(f"no segment of {one.category!r} has a feature: classify the run again")
    file, schema = feature_file(run, one.category_id), features_schema(width)
    with whole_parquet(file, schema, recipe, dictionaries=False) as writer:
        for first in range(0, len(one.rows), ROWS_PER_GROUP):
            rows = one.rows[first : first + ROWS_PER_GROUP]
            values = vectors[start + first : start + first + len(rows)]
            values[~values.any(axis=1)] = np.nan  # in a unit file, zeros stand for none
            data = pa.py_buffer(np.ascontiguousarray(values, "<f2"))
            head = [
                scores[name].take(pa.array(rows)).combine_chunks()
                for name in ("candidate_id", "method", "ordinal")
            ]
            column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(2 * width), len(rows), [None, data])
            writer.write_table(pa.table([*head, column], schema=schema))


class FeatureFile:
    """(S, D) float16 of one category, see `foregrounds.Features`; best read in order, `ROWS_PER_GROUP` at a
    time. FileNotFoundError if the file is missing, RunError from a part that is damaged."""

    __slots__ = ("_ends", "_file", "_held", "_place", "_width")

    def __init__(self, place: Location) -> None:
        self._place, self._file = place, open_parquet(place)
        metadata = self._file.metadata
        sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        self._ends = list(accumulate(sizes))
        self._width = self._file.schema_arrow.field("feature").type.byte_width // 2
        self._held = (-1, np.empty((0, self._width), np.float16))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        parts = [np.empty((0, self._width), np.float16)]
        while start < stop:
            group = bisect_right(self._ends, start)
            first, end = self._ends[group - 1] if group else 0, min(stop, self._ends[group])
            parts.append(self._group(group)[start - first : end - first])
            start = end
        return parts[1] if len(parts) == 2 else np.concatenate(parts)

    def _group(self, number: int) -> np.ndarray:
        if self._held[0] != number:
            try:
                table = self._file.read_row_group(number, columns=["feature"], use_threads=False)
            except (OSError, pa.ArrowInvalid) as error:
                raise RunError(
                    f"{self._place} is damaged ({error}): remove it, and run the same command again, which "
                    "makes it again"
                ) from None
            column = table["feature"].combine_chunks()
            data = np.frombuffer(column.buffers()[1], "<f2", len(column) * self._width)
            self._held = (number, data.reshape(len(column), self._width))
        return self._held[1]
