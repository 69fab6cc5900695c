"""An object store that fails on purpose: a pyarrow filesystem over a real one."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from xpaste_ray.storage import Location

Fault = Callable[[str, str], None]
"""Called with the operation (put, write, read, part, info, list or delete) and the key; raises to fail."""


def faulty(location: Location, fault: Fault) -> Location:
    """The same place, where every operation asks `fault` first."""
    return Location(pafs.PyFileSystem(_Handler(location.fs, fault)), location.key)


class Failing:
    """Fails the operations of one kind `times` times, then lets them pass; `calls` counts all of them."""

    def __init__(self, operation: str, times: int, error: Callable[[], Exception] | None = None) -> None:
        self.operation, self.left, self.calls = operation, times, 0
        self.error = error or (lambda: OSError("AWS Error SLOW_DOWN during PutObject: reduce your rate"))

    def __call__(self, operation: str, key: str) -> None:
        if operation != self.operation:
            return
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error()


class _Stream:
    """An output stream that asks before each write."""

    def __init__(self, inner: pa.NativeFile, ask: Callable[[], None]) -> None:
        self.inner, self.ask, self.closed = inner, ask, False

    def write(self, data: bytes) -> int:
        self.ask()
        return self.inner.write(data)

    def close(self) -> None:
        self.closed = True
        self.inner.close()

    def flush(self) -> None:
        pass


class _Source:
    """A file that asks before each of its parts is read."""

    def __init__(self, inner: pa.NativeFile, ask: Callable[[], None]) -> None:
        self.inner, self.ask, self.closed = inner, ask, False
        self.seek, self.tell = inner.seek, inner.tell

    def read(self, size: int) -> bytes:
        self.ask()
        return self.inner.read(size)

    def close(self) -> None:
        self.closed = True
        self.inner.close()


class _Handler(pafs.FileSystemHandler):
    def __init__(self, inner: pafs.FileSystem, fault: Fault) -> None:
        self.inner, self.fault = inner, fault

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]

    def get_type_name(self) -> str:
        return "faulty"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        for path in paths:
            self.fault("info", path)
        return self.inner.get_file_info(paths)

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        self.fault("list", selector.base_dir)
        return self.inner.get_file_info(selector)

    def open_input_file(self, path: str) -> pa.NativeFile:
        self.fault("read", path)
        source = _Source(self.inner.open_input_file(path), lambda: self.fault("part", path))
        return pa.PythonFile(source, mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        self.fault("read", path)
        return self.inner.open_input_stream(path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        self.fault("put", path)
        stream = _Stream(self.inner.open_output_stream(path), lambda: self.fault("write", path))
        return pa.PythonFile(stream, mode="w")

    def delete_file(self, path: str) -> None:
        self.fault("delete", path)
        self.inner.delete_file(path)

    def _unused(self, *args: Any) -> None:
        raise NotImplementedError

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _unused
    move = copy_file = open_append_stream = _unused
