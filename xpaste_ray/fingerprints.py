"""Short hashes of what made a thing: settings, files, folders."""

import json
import os
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol


class SupportsRead(Protocol):
    def read(self, size: int, /) -> bytes: ...


def fingerprint(settings: Mapping[str, Any]) -> str:
    """16 hex digits of the settings' canonical JSON: the same settings, the same fingerprint."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return blake2b(text.encode(), digest_size=8).hexdigest()


def hash_bytes(data: bytes) -> str:
    """32 hex digits, as `hash_file` gives for a file of these bytes."""
    return blake2b(data, digest_size=16).hexdigest()


def hash_parts(parts: Iterable[bytes]) -> str:
    """The same, of bytes that come in parts."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def hash_file(path: "os.PathLike[str]") -> str:
    """32 hex digits of the file's bytes."""
    with Path(path).open("rb") as file:
        return hash_stream(file)


def hash_stream(file: SupportsRead) -> str:
    """The same, of an open file from where it is."""
    return hash_parts(iter(lambda: file.read(1 << 20), b""))


def hash_folder(folder: Path) -> str:
    """32 hex digits of the names and bytes of all files below the folder, in name order."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digest = blake2b(digest_size=16)
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()}\0{hash_file(path)}\0".encode())
    return digest.hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One line for each setting that differs, "a.b: 1 -> 2", in name order."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{key}.")
        elif isinstance(before, list) and isinstance(after, list) and before != after and len(before) > 2:
            removed = [value for value in before if value not in after]
            added = [value for value in after if value not in before]
            lines.append(f"{prefix}{key}: removed {_short(removed)}, added {_short(added)}")
        elif before != after:
            lines.append(f"{prefix}{key}: {_short(before)} -> {_short(after)}")
    return lines


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
