"""Files on a local disk, a shared disk or an object store, through one small set of operations.

A file appears whole, wherever it is: on a disk it is written aside and renamed, in an object store it is
one put. What fails for a passing reason in an object store is tried again for about a minute.
"""

import errno
import io
import os
import posixpath
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import parse_qsl, unquote

import pyarrow as pa
import pyarrow.fs as pafs

from xpaste_ray.errors import ConfigError, StorageError

RETRY_SECONDS = 60.0  # from the first failure on; an attempt that runs then is the last
FIRST_PAUSE_SECONDS = 0.5  # doubled after each failure, up to
MAX_PAUSE_SECONDS = 8.0

ASIDE_SUFFIX = ".aside"

# One request: pyarrow's S3 tries it three times. Its own limits, 1 s and 3 s, are short for a busy server.
_CONNECT_SECONDS = 5
_SILENT_SECONDS = 20
_GCS_RETRY_LIMIT = timedelta(seconds=15)  # else 15 minutes

_CHUNK_BYTES = 8 * 1024**2
_ALLOWED = "a folder, s3://BUCKET/KEY or gs://BUCKET/KEY"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
_ONE_SLASH = re.compile(r"(s3|gs|gcs|file):/?(?!/)", re.IGNORECASE)
_SHOWN_SCHEMES = {"gcs": "gs"}
_LOCAL = pafs.LocalFileSystem()

# What the services call a refusal that waiting does not change; pyarrow has it in its messages only.
_LASTING = re.compile(
    "ACCESS_DENIED|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN_ID|SIGNATURE_DOES_NOT_MATCH|EXPIRED_TOKEN"
    "|NO_SUCH_BUCKET|PERMISSION_DENIED|UNAUTHENTICATED|Bucket '.*' not found"
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

Stamp = tuple[int, int]
"""Size in bytes, time of the last change in ns."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Location:
    """A file or folder, there or not. Picklable: another process opens the same one.

    key: an absolute path on a local or shared disk, or bucket/key in an object store. Operations raise
    StorageError if the disk or the store fails, and FileNotFoundError where they say so.
    """

    fs: pafs.FileSystem = field(hash=False, repr=False)
    key: str

    def __truediv__(self, child: str) -> "Location":
        return replace(self, key=posixpath.join(self.key, child))

    def __str__(self) -> str:
        """How a user would write it, without options."""
        kind: str = self.fs.type_name
        return self.key if self.is_local else f"{_SHOWN_SCHEMES.get(kind, kind)}://{self.key}"

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of this machine, or on one that it shares with others."""
        return isinstance(self.fs, pafs.LocalFileSystem)

    @property
    def path(self) -> Path:
        """ConfigError if it is in an object store."""
        if not self.is_local:
            raise ConfigError(f"{self}: this needs a local or shared folder, not an object store")
        return Path(self.key)

    @property
    def name(self) -> str:
        return posixpath.basename(self.key)

    @property
    def parent(self) -> "Location":
        return replace(self, key=posixpath.dirname(self.key))

    def relative_to(self, folder: "Location") -> PurePosixPath:
        """ValueError if it is not below the folder."""
        return PurePosixPath(self.key).relative_to(folder.key)

    def exists(self) -> bool:
        """Whether there is a file, or a folder (in an object store: with something in it)."""
        return self._type() != "NotFound"

    def is_dir(self) -> bool:
        return self._type() == "Directory"

    def is_file(self) -> bool:
        return self._type() == "File"

    def stamp(self) -> Stamp:
        """Of a file. FileNotFoundError if there is none."""
        info = self._info()
        if info.type != pafs.FileType.File:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return info.size, info.mtime_ns

    def size(self) -> int:
        """Bytes of a file. FileNotFoundError if there is none."""
        return self.stamp()[0]

    def open(self) -> pa.NativeFile:
        """For reading, in any order. FileNotFoundError if there is no file."""
        file = self._do(lambda: self.fs.open_input_file(self.key))
        return file if self.is_local else pa.PythonFile(_PersistentFile(self, file), "r")

    def read_bytes(self) -> bytes:
        """FileNotFoundError if there is no file."""

        def read() -> bytes:
            with self.fs.open_input_file(self.key) as file:
                data: bytes = file.read()
            return data

        return self._do(read)

    def read_text(self) -> str:
        """UTF-8. FileNotFoundError if there is no file."""
        return self.read_bytes().decode()

    def stamps(self, suffix: str = "") -> dict[str, Stamp]:
        """Size and time of all whole files below a folder whose names end so, by their relative names.

        In name order; empty if there is no such folder.
        """
        found = self._do(lambda: dict(_local_stamps(self.path) if self.is_local else self._remote_stamps()))
        names = (name for name in found if name.endswith(suffix) and not name.endswith(ASIDE_SUFFIX))
        return {name: found[name] for name in sorted(names)}

    def files(self, suffix: str = "") -> dict[str, int]:
        """Sizes in bytes of all whole files below a folder whose names end so, by their relative names.

        In name order; empty if there is no such folder.
        """
        return {name: size for name, (size, _) in self.stamps(suffix).items()}

    def write_whole(self, *parts: bytes) -> None:
        """Write a file, part after part, so that it is either absent or complete. Folders are made as
        needed."""
        if self.is_local:
            with self._written_aside() as aside, aside.open("wb") as file:
                file.writelines(parts)
        else:
            self._do(lambda: self._put(parts, sum(map(len, parts))))

    def upload(self, path: Path) -> None:
        """Copy a local file here, whole or not at all."""
        if self.is_local:
            with self._written_aside() as aside:
                shutil.copyfile(path, aside)
        else:
            self._do(lambda: self._put(_chunks(path), path.stat().st_size))

    def download(self, path: Path) -> None:
        """Copy this file to a local one, whole or not at all. FileNotFoundError if there is none."""
        with locate(path)._written_aside() as aside:
            self._do(lambda: self._copy_to(aside))

    def remove(self) -> None:
        """Remove a file; nothing happens if there is none."""
        with suppress(FileNotFoundError):
            self._do(lambda: self.fs.delete_file(self.key))

    def _type(self) -> str:
        kind: str = self._info().type.name
        return kind

    def _info(self) -> pafs.FileInfo:
        return self._do(lambda: self.fs.get_file_info(self.key))

    def _remote_stamps(self) -> Iterator[tuple[str, Stamp]]:
        selector = pafs.FileSelector(self.key, recursive=True, allow_not_found=True)
        for info in self.fs.get_file_info(selector):
            if info.type == pafs.FileType.File:
                yield posixpath.relpath(info.path, self.key), (info.size, info.mtime_ns)

    def _put(self, chunks: Iterable[bytes], size: int) -> None:
        """One object, of `size` bytes; closing the stream is what makes it appear."""
        stream = self.fs.open_output_stream(self.key)
        written = 0
        try:
            for chunk in chunks:
                written += stream.write(chunk)
        except BaseException:
            # pyarrow cannot drop a stream. If what failed was not the store's, closing makes a part appear.
            with suppress(OSError):
                stream.close()
                if written != size:
                    self.fs.delete_file(self.key)
            raise
        stream.close()

    def _copy_to(self, aside: Path) -> None:
        with self.fs.open_input_file(self.key) as source, aside.open("wb", buffering=0) as file:
            while chunk := source.read(_CHUNK_BYTES):
                with local_errors(aside):
                    file.write(chunk)
            if file.tell() != source.size():
                raise OSError(f"only {file.tell()} of {source.size()} bytes arrived")

    @contextmanager
    def _written_aside(self) -> Iterator[Path]:
        """A local path to write to; it is renamed into place, or removed if that fails."""
        aside = aside_of(self.path)
        try:
            with local_errors(self):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                yield aside
                aside.replace(self.path)
        except BaseException:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            raise

    def _do(self, call: Callable[[], T]) -> T:
        if not self.is_local:
            return _persistently(self, call)
        with local_errors(self):
            return call()


def locate(given: "str | Path | Location") -> Location:
    """The place that a user means by a path or an address.

    Addresses may end in ?region=R, ?endpoint_override=HOST:PORT and ?scheme=http (with & between them);
    AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL say where S3 is, too. Who asks, the service's own variables
    and files tell: an address holds no secrets. ConfigError if it is malformed or of another kind.
    """
    if isinstance(given, Location):
        return given
    text = os.fspath(given)
    match = _SCHEME.fullmatch(text)
    if match is None:
        if _ONE_SLASH.match(text):
            raise ConfigError(f"{text} is malformed: give {_ALLOWED}")
        return Location(_LOCAL, str(Path(text).absolute()))
    scheme, (rest, _, query) = match[1].lower(), match[2].partition("?")
    if scheme == "file":
        return Location(_LOCAL, _local_path(text, rest))
    if scheme not in _STORES:
        raise ConfigError(f"{text}: {scheme}:// is not supported: give {_ALLOWED}")
    bucket = rest.partition("/")[0]
    if "@" in bucket:  # not shown again: it may hold a password
        raise ConfigError(
            f"{scheme}://...@...: an address must not hold credentials: set them in the environment, or in "
            "the service's own files"
        )
    if not bucket or "//" in rest:
        raise ConfigError(f"{text} is malformed: give {_ALLOWED}")
    return Location(_STORES[scheme](f"{scheme}://{bucket}", _options(scheme, query)), rest.rstrip("/"))


def aside_of(path: Path) -> Path:
    """Where a file is written before it is renamed into place; no two processes share one."""
    own = f"{os.uname().nodename}.{os.getpid()}"  # a disk may be shared
    return path.with_name(f".{path.name}.{own}{ASIDE_SUFFIX}")


def _local_path(text: str, rest: str) -> str:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise ConfigError(f"{text} is malformed: write file:///ABSOLUTE/PATH")
    return str(Path("/" + unquote(path)))


def _options(scheme: str, query: str) -> dict[str, str]:
    allowed = ("region", "endpoint_override", "scheme") if scheme == "s3" else ("endpoint_override", "scheme")
    options = dict(parse_qsl(query))
    for name in options:
        if name not in allowed:
            raise ConfigError(f"{scheme}://...?{name}=: unknown option: {', '.join(allowed)} are allowed")
    return options


def _open_s3(bucket: str, options: Mapping[str, str]) -> pafs.FileSystem:
    variables = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # pyarrow reads them for addresses only
    configured = next((os.environ[name] for name in variables if os.environ.get(name)), None)
    endpoint = options.get("endpoint_override", configured)
    return pafs.S3FileSystem(
        region=options.get("region") or (None if endpoint else _region_of(bucket)),
        endpoint_override=endpoint,
        scheme=options.get("scheme"),
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_SILENT_SECONDS,
    )


def _region_of(bucket: str) -> str:
    try:
        region: str = pafs.resolve_s3_region(bucket.removeprefix("s3://"))
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(
            f"{bucket}: the bucket's region could not be found ({error}): check its name and the network, or "
            "add ?region=REGION"
        ) from None
    return region


def _open_gcs(bucket: str, options: Mapping[str, str]) -> pafs.FileSystem:
    return pafs.GcsFileSystem(**options, retry_time_limit=_GCS_RETRY_LIMIT)


_STORES = {"s3": _open_s3, "gs": _open_gcs, "gcs": _open_gcs}
SCHEMES = ("file", *_STORES)
"""Of the addresses that `locate` takes."""


def _local_stamps(folder: Path, prefix: str = "") -> Iterator[tuple[str, Stamp]]:
    """Files that vanish while we look are not there."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _local_stamps(Path(entry.path), f"{prefix}{entry.name}/")
                continue
            with suppress(FileNotFoundError):
                status = entry.stat()
                yield f"{prefix}{entry.name}", (status.st_size, status.st_mtime_ns)


def _chunks(path: Path) -> Iterator[bytes]:
    with local_errors(path), path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _persistently(location: Location, call: Callable[[], T]) -> T:
    """What the call returns; it is made again while the object store fails for a passing reason."""
    give_up, pause = time.monotonic() + RETRY_SECONDS, FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except FileNotFoundError:
            raise
        except OSError as error:
            if isinstance(error, PermissionError) or _LASTING.search(str(error)):
                raise StorageError(
                    f"{location}: refused ({error}): check the name of the bucket, the credentials and "
                    "what they allow, then run the same command again"
                ) from None
            if time.monotonic() + pause > give_up:
                raise StorageError(
                    f"{location}: still failing after {RETRY_SECONDS:.0f} s ({error}): check the network and "
                    "the service, then run the same command again"
                ) from None
        time.sleep(pause)
        pause = min(2 * pause, MAX_PAUSE_SECONDS)


class _PersistentFile(io.RawIOBase):
    """A file of an object store; a part of it that cannot be read is asked for again, as all else is."""

    def __init__(self, location: Location, file: pa.NativeFile) -> None:
        self._location, self._file = location, file
        self._at, self._size = 0, file.size()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        wanted = self._size - self._at if size < 0 else size
        data: bytes = _persistently(self._location, lambda: self._file.read_at(wanted, self._at))
        self._at += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def local_errors(where: Path | Location) -> Iterator[None]:
    """StorageError for what a disk may answer, but for a file that is not there."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            text = f"{where}: the disk is full: free some space and run the same command again"
        elif error.errno in _FORBIDDEN:
            text = f"{where}: {error.strerror}: check its permissions, then run the same command again"
        else:
            text = f"{where}: {error}: check the disk, then run the same command again"
        raise StorageError(text) from None
