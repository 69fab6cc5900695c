"""Score columns of all unit files, gathered as one table; and the embeddings of some of its rows."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.errors import SchemaError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.records import (
    SCORE_NAMES,
    SCORES,
    candidates_schema,
    check_schema,
    embedding_dim_of,
    unit_id,
)
from xpaste_ray.runs import RunDir, made_by, open_parquet, whole_parquet
from xpaste_ray.selection import Embeddings, Vectors
from xpaste_ray.storage import local_errors

_HEAD = ("round", "unit", "candidate_id", "category_id", "category", "index", "source", "transient")
_PROPOSAL = ("method", "ordinal", "status", "reason", "area_fraction", "overlaps")
_COLUMNS = (
    *_HEAD, "status", "reason", *(f"proposals.list.element.{name}" for name in (*_PROPOSAL, "scores"))
)  # fmt: skip
_EMBEDDING = "proposals.list.element.embedding"
_READERS = 8  # threads: a small part of each file is read
_UNITS_AT_ONCE = 256


def scores_recipe(units: str, score: str) -> str:
    """The fingerprint of the score table, from those of the work list and of the last stage."""
    return fingerprint({"units": units, "score": score})


def has_scores(run: RunDir, score: str) -> bool:
    """Whether the score table is that of the run's work list. score: the fingerprint of the last stage."""
    units = made_by(run.units)
    return units is not None and made_by(run.scores) == scores_recipe(units, score)


def read_scores(run: RunDir, columns: Sequence[str]) -> pa.Table:
    """Some columns of the score table."""
    return open_parquet(run.scores).read(columns=list(columns))


def compact_scores(run: RunDir, recipe: str) -> None:
    """Write `scores/`: a row a proposal, for all units of the work list, in its order.

    Every prompt must be there once: SchemaError names the first unit where it is not.
    """
    with whole_parquet(run.scores, SCORES, recipe) as writer:
        for table in score_tables(run):
            writer.write_table(table)


def score_tables(run: RunDir) -> Iterator[pa.Table]:
    """Those rows, some units at a time."""
    units = open_parquet(run.units)
    with ThreadPoolExecutor(_READERS) as pool:
        for batch in units.iter_batches(_UNITS_AT_ONCE):
            yield _by_proposal(pa.concat_tables(pool.map(partial(_read, run), batch.to_pylist())))


def _read(run: RunDir, unit: dict[str, Any]) -> pa.Table:
    """The columns of one unit's file, without its images."""
    name = unit_id(unit["round"], unit["unit"])
    file = open_parquet(run.unit_file(name))
    schema = file.schema_arrow
    check_schema(schema, candidates_schema(embedding_dim_of(schema)), f"scores from {name}")
    table = file.read(columns=list(_COLUMNS))
    if table["candidate_id"].to_pylist() != [prompt["candidate_id"] for prompt in unit["prompts"]]:
        raise SchemaError(f"{run.unit_file(name)} does not hold the candidates of its unit once each")
    return table


def _by_proposal(candidates: pa.Table) -> pa.Table:
    """Rows of `SCORES`; a candidate without proposals has one row, with nulls."""
    proposals = candidates["proposals"].combine_chunks()
    counts = proposals.value_lengths().to_numpy(zero_copy_only=False)
    parents = np.repeat(np.arange(len(counts)), np.maximum(counts, 1))
    has_one = counts[parents] > 0
    children = pa.array(np.cumsum(has_one) - 1, mask=~has_one)
    flat = proposals.flatten()
    columns = {name: candidates[name].take(parents) for name in _HEAD}
    columns |= {f"candidate_{name}": candidates[name].take(parents) for name in ("status", "reason")}
    columns |= {name: flat.field(name).take(children) for name in _PROPOSAL}
    for name in SCORE_NAMES:
        columns[name] = pc.map_lookup(flat.field("scores"), pa.scalar(name), "first").take(children)
    return pa.table(columns).select(SCORES.names).cast(SCORES)


@contextmanager
def stored_embeddings(run: RunDir, scores: pa.Table) -> Iterator[Embeddings]:
    """What gathers embeddings of rows of the run's whole score table from the unit files.

    They wait on the local disk, in the order in which they were asked for: in memory, those of a million
    candidates would take a gigabyte. SchemaError if a unit's file does not hold the proposals of its rows.
    """
    with tempfile.TemporaryDirectory(prefix="xpaste-") as folder:
        yield partial(_gather, run, scores, Path(folder) / "embeddings")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Of one unit. proposals: how many its file has; children: which of them, counted over all candidates;
    places: where they are wanted."""

    name: str
    proposals: int
    children: np.ndarray
    places: np.ndarray


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """(n, D) float16."""

    path: Path
    width: int

    def __getitem__(self, rows: slice) -> np.ndarray:
        count, size = (rows.stop - rows.start) * self.width, self.width * 2
        values = np.fromfile(self.path, np.float16, count, offset=rows.start * size)
        return values.reshape(rows.stop - rows.start, self.width)


def _gather(run: RunDir, scores: pa.Table, path: Path, rows: np.ndarray) -> Vectors:
    """The embeddings of those rows; zeros where a row has none."""
    width, units = 0, _wanted(scores, rows)
    _reserve(path, 0)
    with ThreadPoolExecutor(_READERS) as pool:
        while some := list(islice(units, _UNITS_AT_ONCE)):
            found = list(pool.map(partial(_read_embeddings, run), some))
            if not width and (width := max(vectors.shape[1] for vectors in found)):
                _reserve(path, len(rows) * width * 2)
            if width:
                shared = np.memmap(path, np.float16, "r+", shape=(len(rows), width))
                for unit, vectors in zip(some, found, strict=True):
                    _place(shared, unit, vectors)
                del shared  # what is mapped counts as memory
    return _OnDisk(path, width)


def _place(shared: np.ndarray, unit: _Wanted, vectors: np.ndarray) -> None:
    if vectors.shape[1] not in (0, shared.shape[1]):
        raise SchemaError(
            f"{unit.name} has embeddings of {vectors.shape[1]} numbers, another unit of {shared.shape[1]}: "
            "verify the run with --repair, then build again"
        )
    shared[unit.places] = vectors if vectors.shape[1] else 0


def _wanted(scores: pa.Table, rows: np.ndarray) -> Iterator[_Wanted]:
    """By unit, in the table's order. Its rows stand together, as in its file."""
    rounds, units = (scores[name].to_numpy() for name in ("round", "unit"))
    starts = np.flatnonzero(np.diff(rounds, prepend=-1) | np.diff(units, prepend=-1))
    before = np.concatenate([[0], np.cumsum(scores["method"].is_valid().to_numpy())])
    order = np.argsort(rows)
    of_unit = np.searchsorted(starts, rows[order], side="right") - 1
    for places in np.split(order, np.flatnonzero(np.diff(of_unit)) + 1) if len(rows) else ():
        number = np.searchsorted(starts, rows[places[0]], side="right") - 1
        start = starts[number]
        end = starts[number + 1] if number + 1 < len(starts) else len(rounds)
        first, last = before[start], before[end]
        name = unit_id(int(rounds[start]), int(units[start]))
        yield _Wanted(name, int(last - first), before[rows[places]] - first, places)


def _read_embeddings(run: RunDir, wanted: _Wanted) -> np.ndarray:
    """(n, D) float16 of the wanted proposals; (n, 0) if none of them has one."""
    file = open_parquet(run.unit_file(wanted.name))
    column = file.read(columns=[_EMBEDDING], use_threads=False)["proposals"].combine_chunks()
    embeddings = column.flatten().field("embedding")
    if len(embeddings) != wanted.proposals:
        raise SchemaError(
            f"{run.unit_file(wanted.name)} has {len(embeddings)} proposals, the score table "
            f"{wanted.proposals}: verify the run with --repair, then build again"
        )
    there = embeddings.is_valid().to_numpy(zero_copy_only=False)
    values = embeddings.flatten().to_numpy(zero_copy_only=False)  # of those that are there
    width = len(values) // max(int(there.sum()), 1)
    vectors = np.zeros((len(there), width), np.float16)
    vectors[there] = values.reshape(-1, width)
    found: np.ndarray = vectors[wanted.children]
    return found


def _reserve(path: Path, size: int) -> None:
    """A file of zeros. StorageError now if the disk is full: a write to its map would end the process."""
    with local_errors(path), path.open("wb") as file:
        if size:
            os.posix_fallocate(file.fileno(), 0, size)
