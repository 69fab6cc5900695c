import os
import subprocess
import sys
import textwrap
import threading

import pytest

from tests.backgrounds.material import encoded, picture, small_dataset
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.backgrounds.cache import cache_key, index_cache_dir
from xpaste_ray.backgrounds.index import index_serially
from xpaste_ray.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    for number in range(3):
        (place / f"{number}.png").write_bytes(encoded(picture(seed=number), "PNG"))
    return place


class CountingIndexer:
    """Counts the images that it decodes."""

    images = 0

    def __call__(self, source, items):
        for part in index_serially(source, items):
            self.images += part.num_rows
            yield part


def test_second_opening_decodes_nothing(tmp_path, folder):
    indexer = CountingIndexer()
    first = open_or_index(resolve_source(folder), tmp_path / "cache", indexer)
    assert indexer.images == 3
    again = open_or_index(resolve_source(folder), tmp_path / "cache", indexer)
    assert indexer.images == 3 and again.folder == first.folder and again.fingerprint == first.fingerprint


def test_cache_hit_neither_parses_annotations_nor_opens_images(tmp_path, monkeypatch):
    path = small_dataset(tmp_path)
    open_or_index(resolve_source(path), tmp_path / "cache")
    monkeypatch.setattr("xpaste_ray.backgrounds.dataset._Parsed", None)
    monkeypatch.setattr("xpaste_ray.backgrounds.sources._read_image", None)
    assert len(open_or_index(resolve_source(path), tmp_path / "cache")) == 3


def _add(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "new.png").write_bytes(b"")


def _touch(folder):
    stat = (folder / "1.png").stat()
    os.utime(folder / "1.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


@pytest.mark.parametrize(
    "change",
    [
        _add,
        _touch,
        lambda folder: (folder / "1.png").unlink(),
        lambda folder: (folder / "1.png").write_bytes(b"x"),
        lambda folder: (folder / "1.png").rename(folder / "9.png"),
    ],
)
def test_changed_source_has_another_key(folder, change):
    before = cache_key(resolve_source(folder))
    assert cache_key(resolve_source(folder)) == before
    (folder / "notes.txt").write_text("not an image")
    assert cache_key(resolve_source(folder)) == before
    change(folder)
    assert cache_key(resolve_source(folder)) != before


def test_changed_annotations_have_another_key(tmp_path):
    path = small_dataset(tmp_path)
    before, stat = cache_key(resolve_source(path)), path.stat()
    path.write_text(path.read_text().replace('"id": 44', '"id": 45'))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as if nothing had happened
    assert cache_key(resolve_source(path)) != before
    assert cache_key(resolve_source(path, images=tmp_path / "images")) == cache_key(resolve_source(path))


def test_repaired_image_is_indexed_again(tmp_path, folder):
    (folder / "1.png").write_bytes(b"")
    assert len(open_or_index(resolve_source(folder), tmp_path / "cache")) == 2
    (folder / "1.png").write_bytes(encoded(picture(), "PNG"))
    assert len(open_or_index(resolve_source(folder), tmp_path / "cache")) == 3


def test_interrupted_indexing_leaves_nothing_and_is_begun_again(tmp_path, folder):
    def interrupted(source, items):
        yield from ()
        raise KeyboardInterrupt

    source = resolve_source(folder)
    with pytest.raises(KeyboardInterrupt):
        open_or_index(source, tmp_path / "cache", interrupted)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f".{cache_key(source)}.lock"]
    killed = tmp_path / "cache" / f".{cache_key(source)}.99.aside"
    killed.mkdir()
    assert len(open_or_index(source, tmp_path / "cache")) == 3 and not killed.exists()


def test_index_that_lost_its_manifest_is_made_again(tmp_path, folder):
    source = resolve_source(folder)
    (open_or_index(source, tmp_path / "cache").folder / "manifest.json").unlink()
    assert len(open_or_index(source, tmp_path / "cache")) == 3


def test_source_without_usable_images_leaves_no_index(tmp_path, folder):
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ConfigError, match="no image is usable"):
        open_or_index(resolve_source(folder), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_two_at_once_do_the_work_once(tmp_path, folder):
    indexer, begun = CountingIndexer(), threading.Event()

    def slow(source, items):
        begun.set()
        threading.Event().wait(0.3)
        yield from indexer(source, items)

    first = threading.Thread(target=open_or_index, args=(resolve_source(folder), tmp_path / "cache", slow))
    first.start()
    begun.wait(10)
    assert len(open_or_index(resolve_source(folder), tmp_path / "cache", indexer)) == 3
    first.join()
    assert indexer.images == 3


def test_processes_at_once_agree(tmp_path, folder):
    code = textwrap.dedent(f"""
        from pathlib import Path
        from xpaste_ray.backgrounds import open_or_index, resolve_source
        print(open_or_index(resolve_source({str(folder)!r}), Path({str(tmp_path / "cache")!r})).fingerprint)
    """)
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    answers = {process.communicate(timeout=60)[0] for process in running}
    assert len(answers) == 1 and all(process.returncode == 0 for process in running)
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


def test_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert index_cache_dir() == tmp_path / "xpaste_ray" / "backgrounds"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert index_cache_dir() == tmp_path / "home" / ".cache" / "xpaste_ray" / "backgrounds"


def test_cache_that_cannot_be_written_says_what_to_do(tmp_path, folder):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is not writable .*--cache-dir or XDG_CACHE_HOME"):
        open_or_index(resolve_source(folder), tmp_path / "file" / "cache")


def test_progress_is_told_in_images(tmp_path, folder):
    told = []
    open_or_index(resolve_source(folder), tmp_path / "cache", progress=lambda *counts: told.append(counts))
    assert told == [(3, 3)]
