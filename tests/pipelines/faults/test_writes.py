"""F6 and F8: a writer dies around the rename, and a disk is full."""

import shutil
import signal
import subprocess

import pytest

from tests.pipelines.faults.driver import Job
from tests.pipelines.faults.harness import ROOT, assert_same_run, driving, run, unit_files

pytestmark = pytest.mark.faults

INJECT = ROOT / "tests/pipelines/faults/inject"


@pytest.mark.timeout(300)
def test_writers_killed_around_the_rename_leave_no_part_and_no_double(reference, tmp_path, monkeypatch):
    kills = tmp_path / "kills"
    kills.mkdir()
    for moment in ("before", "after"):
        for number in range(2):
            (kills / f"{moment}-{number}").touch()
    monkeypatch.setenv("XPASTE_KILL_RENAME", str(kills))
    out = tmp_path / "run"
    with driving(Job(out), path=(INJECT,)) as driver:
        assert driver.end() == 0, driver.shown
    assert list(kills.iterdir()) == []
    asides = list(out.rglob(".*.aside"))
    assert len(asides) == 2  # of those killed before it: no part of the run, gone at its next start
    for path in asides:
        path.unlink()
    assert_same_run(out, reference)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["shard-", "index.arrow", "manifest.json", "pool.json"])
def test_driver_killed_while_it_seals_leaves_no_part_of_a_pool(reference, tmp_path, monkeypatch, name):
    """Before the rename, in the same command again right after it, and then left alone. Units are there, so
    no Ray is needed."""
    out, kills = tmp_path / "run", tmp_path / "kills"
    shutil.copytree(reference, out)
    shutil.rmtree(out / "pools")
    for later in ("pool.json", "rejects.parquet"):
        (out / later).unlink()
    kills.mkdir()
    for moment in ("before", "after"):
        (kills / f"{moment}-0").touch()
    with monkeypatch.context() as patch:
        patch.setenv("XPASTE_KILL_RENAME", str(kills))
        patch.setenv("XPASTE_KILL_RENAME_OF", name)
        for there in (False, True):
            with driving(Job(out), path=(INJECT,)) as driver:
                assert driver.end() == -signal.SIGKILL, driver.shown
            assert len(list(out.rglob(f".{name}*.aside"))) == (not there)
            assert any(path.name.startswith(name) for path in out.rglob("*")) == there
    run(Job(out))
    assert_same_run(out, reference)


@pytest.mark.timeout(400)
def test_writes_that_always_die_end_the_run(tmp_path, monkeypatch):
    """Ray would try them again for ever."""
    kills = tmp_path / "kills"
    kills.mkdir()
    for number in range(1000):
        (kills / f"before-{number}").touch()
    monkeypatch.setenv("XPASTE_KILL_RENAME", str(kills))
    out = tmp_path / "run"
    with driving(Job(out), path=(INJECT,)) as driver:
        assert driver.end(350) == 1, driver.shown
        assert "error: Ray gave up: " in driver.shown
    assert unit_files(out) == []


def _has_namespaces() -> bool:
    """Whether we may mount a small disk for ourselves."""
    try:
        return subprocess.run(["unshare", "-rm", "true"], capture_output=True, timeout=10).returncode == 0
    except OSError:
        return False


# A disk of 80 kB, and the same run again after it has grown; what it holds at the end is copied out.
_SMALL_DISK = """
disk=$1; shift
mount -t tmpfs -o size=80k tmpfs "$disk" && "$@"; echo "ended with $?"
ls "$disk"/run/candidates/*/ | grep -c unit-
mount -o remount,size=50m "$disk" && "$@"; echo "ended with $?"
cp -r "$disk/run" "$disk-copy"
"""


@pytest.mark.timeout(400)
@pytest.mark.skipif(not _has_namespaces(), reason="needs unshare and user namespaces, for a small disk")
def test_full_disk_ends_the_run_clearly_and_nothing_is_damaged(reference, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    job = Job(disk / "run", min_free_bytes=0)
    command = ("unshare", "-rm", "sh", "-c", _SMALL_DISK, "sh", str(disk))
    with driving(job, command=command, told=tmp_path / "told") as driver:
        driver.end(300)
        shown = driver.shown
    first, _, second = shown.partition("ended with 1")
    assert "the disk is full: free some space and run the same command again" in first, shown
    done = int(second.split()[0])
    assert 0 < done < 12 and f"continuing: {done} of 12 units are done" in second
    assert "ended with 0" in second
    assert_same_run(tmp_path / "disk-copy", reference)
    assert len(unit_files(tmp_path / "disk-copy")) == 12
