"""Indexes are made once: kept in a folder of the user's cache, under a key of the source's state."""

import errno
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from xpaste_ray.backgrounds.index import index_serially, write_index
from xpaste_ray.backgrounds.layout import FORMAT, MANIFEST
from xpaste_ray.backgrounds.reader import Backgrounds
from xpaste_ray.backgrounds.sources import Source
from xpaste_ray.cache import default_cache_dir, only_one
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.storage import aside_of

Indexer = Callable[[Source, pa.Table], Iterable[pa.Table]]
"""Work list to parts, in order."""

Progress = Callable[[int, int], None]
"""Called with the numbers of images that are indexed and of all images."""


def open_or_index(
    source: Source,
    cache_dir: Path | None = None,
    indexer: Indexer = index_serially,
    progress: Progress | None = None,
) -> Backgrounds:
    """The backgrounds of a source, from the cache if nothing has changed since they were indexed.

    cache_dir: `index_cache_dir()` if not given. Anyone else who wants the same index meanwhile waits
    for it. ConfigError if the source has no usable image or the cache cannot be written.
    """
    cache = cache_dir or index_cache_dir()
    folder = cache / cache_key(source)
    if not (folder / MANIFEST).is_file():
        with only_one(folder):
            if not (folder / MANIFEST).is_file():
                _make(folder, source, indexer, progress)
    return Backgrounds(folder, source)


def index_cache_dir() -> Path:
    """`backgrounds` in `default_cache_dir()`."""
    return default_cache_dir() / "backgrounds"


def cache_key(source: Source) -> str:
    """Another one as soon as a file of the source is added, removed or changed (by size or time)."""
    return fingerprint({"format": FORMAT, "kind": source.kind, **source.state()})


def _make(folder: Path, source: Source, indexer: Indexer, progress: Progress | None) -> None:
    """Write the index aside and rename it: it is there whole, or not at all."""
    for left_behind in (folder, *folder.parent.glob(f".{folder.name}.*.aside")):
        shutil.rmtree(left_behind, ignore_errors=True)
    aside = aside_of(folder)
    aside.mkdir()
    try:
        catalogue = source.catalogue()
        parts = _counted(indexer(source, catalogue.items), catalogue.items.num_rows, progress)
        write_index(aside, source, catalogue, parts)
        try:
            aside.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise  # else: on a file system without locks, another was faster with the same bytes
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _counted(parts: Iterable[pa.Table], total: int, progress: Progress | None) -> Iterator[pa.Table]:
    done = 0
    for part in parts:
        done += part.num_rows
        if progress:
            progress(done, total)
        yield part
