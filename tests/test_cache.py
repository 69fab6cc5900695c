import os
import pickle
import subprocess
import sys
import time

import pytest

from tests.faulty import Failing, faulty
from xpaste_ray import storage
from xpaste_ray.cache import default_cache_dir, local_copy, only_one
from xpaste_ray.errors import ConfigError, StorageError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.storage import Location, locate

FILES = {"a.bin": b"123", "b/c.bin": b"4567"}
CHECKSUMS = {name: hash_bytes(data) for name, data in FILES.items()}


@pytest.fixture
def folder(s3):
    """A folder in an object store with `FILES`, and one that nobody asks for."""
    folder = locate(f"{s3()}/pool")
    for name, data in {**FILES, "other": b"89"}.items():
        (folder / name).write_whole(data)
    return folder


def counted(folder: Location) -> tuple[Location, Failing]:
    """The folder, and what counts its reads."""
    reads = Failing("read", times=0)
    return faulty(folder, reads), reads


def contents(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_local_folder_is_its_own_copy(tmp_path):
    assert local_copy(locate(tmp_path), {}, tmp_path / "cache") == tmp_path
    assert not (tmp_path / "cache").exists()


def test_the_files_that_are_asked_for_are_copied_once(folder, tmp_path):
    folder, reads = counted(folder)
    copy = local_copy(folder, CHECKSUMS, tmp_path)
    assert contents(copy) == FILES and reads.calls == 2
    assert local_copy(folder, CHECKSUMS, tmp_path) == copy and reads.calls == 2


def test_without_checksums_the_whole_folder_is_copied_again_when_it_changes(folder, tmp_path):
    first = local_copy(folder, None, tmp_path)
    assert contents(first) == {**FILES, "other": b"89"}
    assert local_copy(folder, None, tmp_path) == first
    (folder / "other").write_whole(b"890")
    second = local_copy(folder, None, tmp_path)
    assert second != first and contents(second)["other"] == b"890" and contents(first)["other"] == b"89"


def test_what_is_not_there_is_told(folder, tmp_path):
    with pytest.raises(FileNotFoundError):
        local_copy(folder / "none", None, tmp_path)
    with pytest.raises(FileNotFoundError):
        local_copy(folder, {"none": hash_bytes(b"")}, tmp_path)
    assert contents(tmp_path) == {} or all(name.endswith(".lock") for name in contents(tmp_path))


def test_a_file_that_arrives_damaged_is_copied_again_once(folder, tmp_path):
    """The first to ask for a.bin gets other bytes of it."""
    right = (folder / "a.bin").read_bytes()
    (folder / "a.bin").write_whole(b"124")
    reads = []

    def mended_at_the_second_read(operation, key):
        if operation == "read" and key.endswith("a.bin"):
            reads.append(key)
            if len(reads) == 2:
                (folder / "a.bin").write_whole(right)

    copy = local_copy(faulty(folder, mended_at_the_second_read), CHECKSUMS, tmp_path)
    assert contents(copy) == FILES and len(reads) == 2


def test_a_file_that_stays_damaged_is_an_error_and_no_copy(folder, tmp_path):
    (folder / "a.bin").write_whole(b"124")
    with pytest.raises(StorageError, match="pool/a.bin is damaged: checksum .* 2 times: make it again"):
        local_copy(folder, CHECKSUMS, tmp_path)
    assert all(name.endswith(".lock") for name in contents(tmp_path))


def test_a_copy_that_lost_a_part_on_this_node_is_made_again(folder, tmp_path):
    copy = local_copy(folder, CHECKSUMS, tmp_path)
    (copy / "b" / "c.bin").write_bytes(b"45")
    assert contents(local_copy(folder, CHECKSUMS, tmp_path)) == FILES
    (copy / "a.bin").unlink()
    assert contents(local_copy(folder, CHECKSUMS, tmp_path)) == FILES


def test_a_copy_that_was_killed_half_way_is_made_again(folder, tmp_path):
    copy = local_copy(folder, CHECKSUMS, tmp_path)
    copy.with_name(f"{copy.name}.json").unlink()  # it is written last
    (copy / "a.bin").unlink()
    half = copy.with_name(f".{copy.name}.123.aside")
    half.mkdir()
    assert contents(local_copy(folder, CHECKSUMS, tmp_path)) == FILES and not half.exists()


def test_a_store_that_fails_for_a_moment_is_asked_again(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "FIRST_PAUSE_SECONDS", 0.01)
    assert contents(local_copy(faulty(folder, Failing("read", times=3)), CHECKSUMS, tmp_path)) == FILES


def test_names_that_leave_the_folder_are_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="would leave the folder"):
        local_copy(folder, {"../a.bin": hash_bytes(b"123")}, tmp_path)


def test_processes_of_a_node_wait_for_the_one_that_copies(folder, tmp_path):
    """The others find a copy when they get the lock, and ask the store for nothing."""
    code = (
        "import pickle, sys; from xpaste_ray.cache import local_copy; from pathlib import Path\n"
        "folder, files, cache = pickle.load(sys.stdin.buffer); print(local_copy(folder, files, Path(cache)))"
    )
    copy = local_copy(folder, CHECKSUMS, tmp_path)
    record = copy.with_name(f"{copy.name}.json")
    hidden = record.rename(tmp_path / "record")
    with only_one(copy):
        waiting = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False
        )
        waiting.stdin.write(pickle.dumps((folder, CHECKSUMS, str(tmp_path))))
        waiting.stdin.close()
        time.sleep(2)
        assert waiting.poll() is None
        (folder / "a.bin").write_whole(b"124")  # a second copy would be refused
        hidden.rename(record)
    assert waiting.stdout.read().decode().strip() == str(copy) and waiting.wait(30) == 0


def test_the_cache_lies_where_the_users_caches_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "xpaste_ray"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "xpaste_ray"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_an_error(folder, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="is not writable"):
        local_copy(folder, CHECKSUMS, tmp_path / "cache")
