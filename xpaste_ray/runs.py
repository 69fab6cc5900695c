"""A run's directory: where each file lies, how files appear whole, and `run.json`.

run.json                      settings, fingerprints by step, versions, counts, times
units.parquet                 the work list
searches/<source>.parquet     what a search engine found
fetched/<round>/unit-*.parquet      bytes from the web, as they came
candidates/<round>/unit-*.parquet   images, masks and scores; present means done
scores/part-00000.parquet     score columns of all candidates
features/<category id>.parquet      features of a category's segments, for the choice among them
rejects.parquet               everything that did not become an instance, and why
pools/<fingerprint>/          sealed pools;  pool.json points at the current one
classifier/                   a classifier that was trained on the run's images
annotations.json              masks that were found in labelled images, over the originals
dataset/                      the composed images and their annotations
report.html, report.json      what `xpaste report`, and the demo at its end, tell of all this
"""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xpaste_ray.errors import ConfigError, StorageError
from xpaste_ray.fingerprints import differences
from xpaste_ray.lease import Say, hold_lease
from xpaste_ray.storage import ASIDE_SUFFIX, Location, local_errors, locate

MIN_FREE_BYTES = 2 * 1024**3

_ASIDE = f".*{ASIDE_SUFFIX}"
_RECIPE = b"xpaste_ray.recipe"


class RunDir:
    """The places of a run. The dataset and the preview are on a local or shared disk."""

    __slots__ = ("root",)

    def __init__(self, root: str | Path | Location) -> None:
        self.root = locate(root)

    @property
    def run_json(self) -> Location:
        return self.root / "run.json"

    @property
    def units(self) -> Location:
        return self.root / "units.parquet"

    @property
    def candidates(self) -> Location:
        return self.root / "candidates"

    @property
    def searches(self) -> Location:
        return self.root / "searches"

    @property
    def fetched(self) -> Location:
        return self.root / "fetched"

    @property
    def scores(self) -> Location:
        return self.root / "scores" / "part-00000.parquet"

    @property
    def features(self) -> Location:
        return self.root / "features"

    @property
    def rejects(self) -> Location:
        return self.root / "rejects.parquet"

    @property
    def pools(self) -> Location:
        return self.root / "pools"

    @property
    def pool_json(self) -> Location:
        return self.root / "pool.json"

    @property
    def classifier(self) -> Location:
        return self.root / "classifier"

    @property
    def annotations(self) -> Location:
        return self.root / "annotations.json"

    @property
    def dataset(self) -> Path:
        """ConfigError if the run is in an object store."""
        return self.root.path / "dataset"

    @property
    def preview(self) -> Path:
        """ConfigError if the run is in an object store."""
        return self.root.path / "preview.jpg"

    def unit_file(self, unit_id: str) -> Location:
        return self.candidates / f"{unit_id}.parquet"

    def fetched_file(self, unit_id: str) -> Location:
        return self.fetched / f"{unit_id}.parquet"

    def unit_sizes(self) -> dict[str, int]:
        """Bytes of every unit file that is there, by unit."""
        found = self.candidates.files(".parquet")
        return {name.removesuffix(".parquet"): size for name, size in found.items()}


@contextmanager
def open_run(root: str | Path | Location, say: Say | None = None) -> Iterator[RunDir]:
    """Make the run's folder, check that it can be worked in, and keep others out meanwhile.

    say: is told why, if it takes a while. ConfigError if it cannot be written, has less than 2 GiB free,
    or if another process works in it. LeaseLostError later, if another one took the run over.
    """
    run = RunDir(root)
    if run.root.is_local:
        _check_disk(run.root.path)
    with hold_lease(run.root, say):
        yield run


def _check_disk(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        hint = "is not a directory" if error.errno in (errno.EEXIST, errno.ENOTDIR) else "is not writable"
        raise ConfigError(f"--out {root} {hint} ({error.strerror}): choose another folder") from None
    free = shutil.disk_usage(root).free
    if free < MIN_FREE_BYTES:
        raise ConfigError(
            f"--out {root}: only {free / 1024**3:.2f} GiB of disk are free and 2 GiB are needed: "
            "free some space or choose another folder"
        )


def remove_leftovers(run: RunDir) -> None:
    """Remove files that a killed run left half-written; other folders in it are not ours.

    An object store has none: a file there is one put.
    """
    if not run.root.is_local:
        return
    for path in run.root.path.glob(_ASIDE):
        path.unlink(missing_ok=True)
    for folder in (
        run.searches, run.fetched, run.candidates, run.scores.parent, run.features, run.pools, run.dataset,
    ):  # fmt: skip
        remove_asides(Path(folder))


def remove_asides(folder: Path) -> None:
    """Remove half-written files anywhere in a folder that is all ours."""
    for path in folder.rglob(_ASIDE):
        path.unlink(missing_ok=True)


def read_json(file: Path | Location) -> dict[str, Any]:
    """The JSON object in a file; ConfigError if it is damaged."""
    try:
        value = json.loads(locate(file).read_text())
    except ValueError as error:
        raise ConfigError(f"{file} is not readable ({error}): restore it or choose another folder") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{file} does not hold a JSON object: restore it or choose another folder")
    return value


def write_whole(file: Path | Location, data: bytes) -> None:
    """Write a file so that it is either absent or complete."""
    locate(file).write_whole(data)


def json_bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def write_json(file: Path | Location, value: Mapping[str, Any]) -> None:
    write_whole(file, json_bytes(value))


def write_parquet(
    file: Path | Location, table: pa.Table, recipe: str = "", dictionaries: bool = True
) -> None:
    """One whole Parquet file; the same table gives the same bytes.

    `recipe`, the fingerprint of the step that made it, is kept in the file's schema. `dictionaries`: of
    repeated values; off, for pixels and embeddings, which only cost time and room in one.
    """
    sink = pa.BufferOutputStream()
    schema = table.schema.with_metadata({_RECIPE: recipe.encode()}) if recipe else table.schema
    pq.write_table(
        table.cast(schema), sink, compression="zstd", write_page_checksum=True, use_dictionary=dictionaries
    )
    write_whole(file, sink.getvalue().to_pybytes())


class GrowingParquet:
    """A Parquet file on the local disk, written row group by row group. StorageError if that is full.
    dictionaries: see `write_parquet`."""

    def __init__(self, path: Path, schema: pa.Schema, dictionaries: bool = True) -> None:
        self._path = path
        with local_errors(path):
            self._writer = pq.ParquetWriter(
                path, schema, compression="zstd", write_page_checksum=True, use_dictionary=dictionaries
            )

    def write_table(self, table: pa.Table) -> None:
        with local_errors(self._path):
            self._writer.write_table(table)

    def close(self) -> None:
        with local_errors(self._path):
            self._writer.close()


@contextmanager
def whole_parquet(
    file: Location, schema: pa.Schema, recipe: str, dictionaries: bool = True
) -> Iterator[GrowingParquet]:
    """A Parquet file that is written row group by row group, and appears when all of it is there. Until then
    it grows on the local disk: in memory, that of a million prompts would add a third to the driver's."""
    schema = schema.with_metadata({_RECIPE: recipe.encode()})
    with tempfile.TemporaryDirectory(prefix="xpaste-") as folder:
        growing = Path(folder) / "growing.parquet"
        with closing(GrowingParquet(growing, schema, dictionaries)) as writer:
            yield writer
        file.upload(growing)


def open_parquet(file: Location) -> pq.ParquetFile:
    """For reading parts of it. FileNotFoundError; pa.ArrowInvalid if it is not whole, and OSError from what
    is read of it if that part is damaged."""
    return pq.ParquetFile(file.open(), page_checksum_verification=True)


def made_by(file: Path | Location) -> str | None:
    """The recipe of a Parquet file; None if it has none, is missing, or is not whole.

    Reads the end of the file only. StorageError if it cannot be read: that does not mean that it is not
    there.
    """
    place = locate(file)
    try:
        with place.open() as data:
            metadata = pq.read_schema(data).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    except OSError as error:
        if "thrift" in str(error):  # how pyarrow calls a damaged end
            return None
        raise StorageError(f"{place} could not be read ({error}): run the same command again") from None
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
