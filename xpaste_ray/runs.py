"""A run's directory: where each file lies, how files appear whole, and `run.json`.

run.json                      settings, fingerprints by step, versions, counts, times
units.parquet                 the work list
candidates/<round>/unit-*.parquet   images, masks and scores; present means done
scores/part-00000.parquet     score columns of all candidates
rejects.parquet               everything that did not become an instance, and why
pools/<fingerprint>/          sealed pools;  pool.json points at the current one
dataset/                      the composed images and their annotations
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import differences

MIN_FREE_BYTES = 2 * 1024**3

_ASIDE = ".*.aside"
_RECIPE = b"xpaste_ray.recipe"


@dataclass(frozen=True, slots=True)
class RunDir:
    """The paths of a run."""

    root: Path

    @property
    def run_json(self) -> Path:
        return self.root / "run.json"

    @property
    def units(self) -> Path:
        return self.root / "units.parquet"

    @property
    def candidates(self) -> Path:
        return self.root / "candidates"

    @property
    def scores(self) -> Path:
        return self.root / "scores" / "part-00000.parquet"

    @property
    def rejects(self) -> Path:
        return self.root / "rejects.parquet"

    @property
    def pools(self) -> Path:
        return self.root / "pools"

    @property
    def pool_json(self) -> Path:
        return self.root / "pool.json"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def preview(self) -> Path:
        return self.root / "preview.jpg"

    def unit_file(self, unit_id: str) -> Path:
        return self.candidates / f"{unit_id}.parquet"

    def unit_sizes(self) -> dict[str, int]:
        """Bytes of every unit file that is there, by unit."""
        found = self.candidates.glob("*/unit-*.parquet")
        return {f"{path.parent.name}/{path.stem}": path.stat().st_size for path in found}


@contextmanager
def open_run(root: Path) -> Iterator[RunDir]:
    """Make the run's directory, check that it can be worked in, and keep others out meanwhile.

    ConfigError if it cannot be written, has less than 2 GiB free, or if another process works in it.
    The kernel lets go of the lock when the process ends, however it ends.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / ".lock").open("a")
    except OSError as error:
        hint = "is not a directory" if error.errno in (errno.EEXIST, errno.ENOTDIR) else "is not writable"
        raise ConfigError(f"--out {root} {hint} ({error.strerror}): choose another folder") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"--out {root}: another xpaste is at work there: wait for it, or stop it"
            ) from None
        free = shutil.disk_usage(root).free
        if free < MIN_FREE_BYTES:
            raise ConfigError(
                f"--out {root}: only {free / 1024**3:.2f} GiB of disk are free and 2 GiB are needed: "
                "free some space or choose another folder"
            )
        yield RunDir(root)


def remove_leftovers(run: RunDir) -> None:
    """Remove files that a killed run left half-written; other folders in it are not ours."""
    for path in run.root.glob(_ASIDE):
        path.unlink(missing_ok=True)
    for folder in (run.candidates, run.scores.parent, run.pools, run.dataset):
        remove_asides(folder)


def remove_asides(folder: Path) -> None:
    """Remove half-written files anywhere in a folder that is all ours."""
    for path in folder.rglob(_ASIDE):
        path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; ConfigError if it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not readable ({error}): restore it or choose another folder") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} does not hold a JSON object: restore it or choose another folder")
    return value


def aside_of(path: Path) -> Path:
    """Where a file is written before it is renamed into place; no two processes share one."""
    return path.with_name(f".{path.name}.{os.getpid()}.aside")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is either absent or complete: aside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    aside.write_bytes(data)
    aside.replace(path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def write_parquet(path: Path, table: pa.Table, recipe: str = "") -> None:
    """One whole Parquet file; the same table gives the same bytes.

    `recipe`, the fingerprint of the step that made it, is kept in the file's schema.
    """
    sink = pa.BufferOutputStream()
    schema = table.schema.with_metadata({_RECIPE: recipe.encode()}) if recipe else table.schema
    pq.write_table(table.cast(schema), sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())


@contextmanager
def whole_parquet(path: Path, schema: pa.Schema, recipe: str) -> Iterator[pq.ParquetWriter]:
    """A Parquet file that is written row group by row group, and appears when all of it is there."""
    sink = pa.BufferOutputStream()
    schema = schema.with_metadata({_RECIPE: recipe.encode()})
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        yield writer
    write_whole(path, sink.getvalue().to_pybytes())


def made_by(path: Path) -> str | None:
    """The recipe of a Parquet file; None if it has none, is missing, or is not whole."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    return metadata[_RECIPE].decode() if _RECIPE in metadata else None


def check_steps(run: RunDir, steps: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to go on with a run whose steps were made with other settings.

    `steps` maps a step's name to its settings. A step that the run does not have yet is fine.
    """
    if not run.run_json.exists():
        return
    made = read_json(run.run_json).get("steps", {})
    lines = {
        f"  {line}"
        for name, settings in steps.items()
        if name in made
        for line in differences(made[name]["settings"], settings)
    }
    if lines:
        raise ConfigError(
            f"{run.root} was made with other settings:\n" + "\n".join(sorted(lines)) + "\n"
            "Use those settings, or another --out."
        )
