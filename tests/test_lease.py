"""Real processes on one run; times are shortened as a process begins."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from tests.faulty import Failing, faulty
from xpaste_ray import lease, storage
from xpaste_ray.errors import ConfigError, LeaseLostError, StorageError
from xpaste_ray.lease import LEASE, hold_lease
from xpaste_ray.storage import locate

# Holds a lease until its input ends. With a name, it claims to be of another host of that name; with a
# number, it renews every so many seconds.
HOLDER = """
import sys, time
from xpaste_ray import lease
from xpaste_ray.errors import XPasteError
from xpaste_ray.storage import locate
renew_s = float(sys.argv[3]) if len(sys.argv) > 3 else 0.2
lease.RENEW_SECONDS, lease.WATCH_SECONDS, lease.SETTLE_SECONDS = renew_s, 1.5, 3
if len(sys.argv) > 2:
    lease.socket.gethostname = lambda: sys.argv[2]
    lease._boot = lambda: "boot of " + sys.argv[2]
try:
    with lease.hold_lease(locate(sys.argv[1]), say=lambda text: print(text, flush=True)):
        print("held", flush=True)
        sys.stdin.read()
except XPasteError as error:
    print(type(error).__name__, error, flush=True)
"""


@pytest.fixture(params=["disk", "s3"])
def root(request, tmp_path):
    return locate(tmp_path) if request.param == "disk" else locate(f"{request.getfixturevalue('s3')()}/run")


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(lease, "WATCH_SECONDS", 30)
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.5)


@pytest.fixture
def short_watch(monkeypatch):
    """For leases that nobody renews; a live one must not be missed on a busy machine."""
    monkeypatch.setattr(lease, "WATCH_SECONDS", 1.5)


@contextmanager
def holder(root, *host):
    """A process that tries to hold the lease; its lines come from `stdout`."""
    command = [sys.executable, "-c", HOLDER, str(root), *host]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_nobody_else_is_let_in_until_the_holder_ends(root):
    with holder(root) as first:
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(ConfigError, match=rf"another xpaste is at work there \(process {first.pid} on "),
            hold_lease(root),
        ):
            pass
        first.communicate(timeout=30)
    assert not (root / LEASE).exists()
    with hold_lease(root):
        assert json.loads((root / LEASE).read_text())["pid"] == os.getpid()
    assert root.files() == {}


def test_a_dead_process_of_this_host_is_followed_at_once(root):
    said = []
    with holder(root) as first:
        assert first.stdout.readline() == "held\n"
        first.send_signal(signal.SIGKILL)  # and not waited for: it stays as a zombie
        time.sleep(0.2)
        began = time.monotonic()
        with hold_lease(root, said.append):
            assert time.monotonic() - began < 20 and said == []


def test_a_process_number_that_is_used_again_is_not_its_holder(root):
    with hold_lease(root):
        held = json.loads((root / LEASE).read_text())
    (root / LEASE).write_whole(json.dumps({**held, "started": held["started"] - 1}).encode())
    with hold_lease(root):
        pass


def test_a_live_holder_on_another_host_is_noticed_by_its_renewals(root):
    with holder(root, "elsewhere") as first:
        assert first.stdout.readline() == "held\n"
        said = []
        with (
            pytest.raises(ConfigError, match=rf"process {first.pid} on elsewhere, renewed \d s ago"),
            hold_lease(root, said.append),
        ):
            pass
        assert "is held by process" in said[0] and "elsewhere: watching for 30 s" in said[0]


def test_a_silent_holder_on_another_host_is_followed_after_watching(root, short_watch):
    with holder(root, "elsewhere") as first:
        assert first.stdout.readline() == "held\n"
        first.kill()
        first.wait(30)
        began = time.monotonic()
        with hold_lease(root):
            assert 1.5 <= time.monotonic() - began < 60


def test_an_old_lease_of_another_host_is_not_even_watched(tmp_path):
    with holder(tmp_path, "elsewhere") as first:
        assert first.stdout.readline() == "held\n"
    os.utime(tmp_path / LEASE, (time.time() - 700, time.time() - 700))
    said = []
    with hold_lease(locate(tmp_path), said.append):
        assert said == []


def test_a_damaged_lease_is_followed_after_watching(root, short_watch):
    (root / LEASE).write_whole(b'{"host": ')
    said = []
    with hold_lease(root, said.append):
        assert "an unreadable lease" in said[0]


def test_only_one_of_many_that_start_at_one_moment_gets_it(root):
    with holder(root) as a, holder(root) as b, holder(root) as c, holder(root) as d:
        lines = [process.stdout.readline() for process in (a, b, c, d)]
    assert lines.count("held\n") == 1
    assert all("another xpaste" in line for line in lines if line != "held\n")


def test_only_one_of_many_follows_a_dead_holder(root):
    with holder(root) as first:
        assert first.stdout.readline() == "held\n"
        first.kill()
    with holder(root) as a, holder(root) as b, holder(root) as c:
        lines = [process.stdout.readline() for process in (a, b, c)]
    assert lines.count("held\n") == 1
    assert all("another xpaste" in line for line in lines if line != "held\n")


def test_a_stopped_holder_is_told_when_it_wakes_that_another_took_over(root, short_watch):
    """It is stopped between two renewals: in the middle of one it would be the other that is told."""
    with holder(root, "elsewhere", "1.0") as first:
        assert first.stdout.readline() == "held\n"
        first.send_signal(signal.SIGSTOP)
        with hold_lease(root) as held:
            first.send_signal(signal.SIGCONT)
            assert "LeaseLostError" in (line := first.stdout.readline()) and "another run took over" in line
            time.sleep(0.5)
            assert not held.lost.is_set()


def test_the_main_thread_is_woken_when_the_lease_is_lost(root):
    began = time.monotonic()
    with pytest.raises(LeaseLostError, match="another run took over"), hold_lease(root):
        (root / LEASE).write_whole(b"{}")
        time.sleep(60)
    assert time.monotonic() - began < 30
    assert (root / LEASE).read_bytes() == b"{}", "it is the other one's"


def test_the_main_thread_is_woken_where_interrupts_are_ignored(root):
    """As in a job that a shell started in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        test_the_main_thread_is_woken_when_the_lease_is_lost(root)
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_is_told_at_the_end(root):
    told = []

    def work():
        try:
            with hold_lease(root) as held:
                (root / LEASE).write_whole(b"{}")
                assert held.lost.wait(30)
        except LeaseLostError as error:
            told.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert len(told) == 1 and "another run took over" in told[0]


def test_ctrl_c_stays_what_it_is(root):
    with pytest.raises(KeyboardInterrupt), hold_lease(root):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(60)
    assert not (root / LEASE).exists()


def test_a_lease_that_someone_removed_is_put_back(root):
    with hold_lease(root) as held:
        (root / LEASE).remove()
        give_up = time.monotonic() + 30
        while not (root / LEASE).exists() and time.monotonic() < give_up:
            time.sleep(0.1)
        assert (root / LEASE).exists() and not held.lost.is_set()


def test_a_store_that_fails_for_a_while_costs_no_lease(s3, monkeypatch):
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(storage, "FIRST_PAUSE_SECONDS", 0.05)
    fault = Failing("put", times=0)
    with hold_lease(faulty(locate(s3()), fault)) as held:
        fault.left = 6
        give_up = time.monotonic() + 60
        while fault.left and time.monotonic() < give_up:
            time.sleep(0.1)
        assert fault.left == 0 and not held.lost.is_set()


def test_a_store_that_cannot_be_reached_is_an_error(monkeypatch):
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.1)
    root = locate("s3://bucket/run?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1")
    with pytest.raises(StorageError, match="check the network"), hold_lease(root):
        pass


def test_disks_without_links_are_used_as_object_stores_are(tmp_path, monkeypatch):
    def no_links(*args):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with hold_lease(locate(tmp_path)):
        assert (tmp_path / LEASE).exists()
    assert list(tmp_path.iterdir()) == []
