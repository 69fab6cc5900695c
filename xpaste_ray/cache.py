"""Copies of what lies in an object store: made once a node, checked, then used by all of its processes.

    <cache_dir>/copies/<address>/<version>/       the files
    <cache_dir>/copies/<address>/<version>.json   their sizes; written last, when all were checked

A version follows from what the files are, so a copy is never out of date: a changed folder is another one.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from xpaste_ray.errors import ConfigError, StorageError
from xpaste_ray.fingerprints import fingerprint, hash_bytes, hash_file
from xpaste_ray.runs import read_json, write_json
from xpaste_ray.storage import Location, Stamp, aside_of

_FILES_AT_ONCE = 16
_TRIES = 2


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/xpaste_ray`, in ~/.cache if that is not set."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "xpaste_ray"


def local_copy(
    folder: Location,
    files: Mapping[str, str] | None = None,
    cache_dir: Path | None = None,
    version: str | None = None,
) -> Path:
    """A local folder with the files of a remote one; a local folder itself, whatever is in it.

    files: checksums (`fingerprints.hash_file`) by relative name, of those that are wanted. Without, all
    files of the folder are copied and checked by their sizes. cache_dir: `default_cache_dir()` if not given.
    version: the name of an earlier copy of the folder; if this node has it, the store is not even asked.
    Other processes of this node that want the same wait for the one that copies. FileNotFoundError if a
    file or the folder is not there; StorageError if what arrives is something else, twice, or another
    version than asked for.
    """
    if folder.is_local:
        return folder.path
    if files is None:
        return _copy_of_now(folder, folder.stamps, cache_dir, version)
    return _copy(folder, files, fingerprint({"checksums": dict(files)}), cache_dir)


def local_file(file: Location, cache_dir: Path | None = None, version: str | None = None) -> Path:
    """A local copy of one remote file, as `local_copy` makes it of a folder; `version`: its folder's name."""
    if file.is_local:
        return file.path
    return _copy_of_now(file.parent, lambda: {file.name: file.stamp()}, cache_dir, version) / file.name


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a lock of the kernel's on a folder of the cache, which lets go of it however this process ends."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".{folder.name}.lock").open("a")
    except OSError as error:
        raise ConfigError(
            f"the cache {folder.parent} is not writable ({error.strerror}): set XDG_CACHE_HOME to a folder "
            "that is"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise
        yield


def _copy_of_now(
    folder: Location, stamps: Callable[[], dict[str, Stamp]], cache_dir: Path | None, version: str | None
) -> Path:
    """A copy of the files as they are now, known by their sizes and times."""
    if version is not None and _is_whole(_place(folder, version, cache_dir)):
        return _place(folder, version, cache_dir)
    found = stamps()
    if not found:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    now = fingerprint({"stamps": found})
    if version not in (None, now):
        raise StorageError(f"{folder} has changed since the work began: run the same command again")
    return _copy(folder, {name: size for name, (size, _) in found.items()}, now, cache_dir)


def _copy(folder: Location, wanted: Mapping[str, str | int], version: str, cache_dir: Path | None) -> Path:
    """wanted: the checksum, or else the size, of each file."""
    for name in wanted:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise ConfigError(f"{folder}: a file is called {name!r}, which would leave the folder: rename it")
    copy = _place(folder, version, cache_dir)
    if not _is_whole(copy):
        with only_one(copy):
            if not _is_whole(copy):
                _make(copy, folder, wanted)
    return copy


def _place(folder: Location, version: str, cache_dir: Path | None) -> Path:
    address = hash_bytes(str(folder).encode())[:16]
    return (cache_dir or default_cache_dir()) / "copies" / address / version


def _record_of(copy: Path) -> Path:
    return copy.with_name(f"{copy.name}.json")


def _is_whole(copy: Path) -> bool:
    """Whether all files are there in the sizes that they had when they were checked."""
    try:
        sizes = read_json(_record_of(copy))["sizes"]
        return all((copy / name).stat().st_size == size for name, size in sizes.items())
    except (FileNotFoundError, ConfigError):
        return False


def _make(copy: Path, folder: Location, wanted: Mapping[str, str | int]) -> None:
    """Copy the files aside and rename the folder: it is there whole, or not at all."""
    _record_of(copy).unlink(missing_ok=True)
    for left_behind in (copy, *copy.parent.glob(f".{copy.name}.*.aside")):
        shutil.rmtree(left_behind, ignore_errors=True)
    aside = aside_of(copy)
    try:
        with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
            arriving = [
                threads.submit(_fetch, folder / name, aside / name, told) for name, told in wanted.items()
            ]
            try:
                sizes = [one.result() for one in arriving]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        aside.rename(copy)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    write_json(_record_of(copy), {"from": str(folder), "sizes": dict(zip(wanted, sizes, strict=True))})


def _fetch(source: Location, path: Path, told: str | int) -> int:
    """Copy one file; returns its size in bytes. What is damaged on the way is copied again."""
    for _ in range(_TRIES):
        source.download(path)
        size = path.stat().st_size
        found = size if isinstance(told, int) else hash_file(path)
        if found == told:
            return size
    what = "bytes" if isinstance(told, int) else "checksum"
    raise StorageError(
        f"{source} is damaged: {what} {found} instead of {told}, {_TRIES} times: make it again, then run the "
        "same command"
    )
