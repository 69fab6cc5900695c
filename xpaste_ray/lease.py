"""One process at a time works in a run: a lease file says who, and is renewed while it does.

Two that start at the same moment cannot both get it on a disk, where a link is made by one only. An
object store has no such thing: each writes, waits and reads back whose it is. Should two get through even
so, the first renewal tells one of them, and until then they write the same bytes under the same names.
"""

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from xpaste_ray.errors import ConfigError, LeaseLostError, StorageError
from xpaste_ray.storage import ASIDE_SUFFIX, Location

LEASE = ".lease.json"  # hidden: folders of ours may be checked for files that are not

RENEW_SECONDS = 10.0
QUIET_SECONDS = 60.0  # a process of this host that has not renewed for so long is asked again
WATCH_SECONDS = 30.0  # a lease that does not change for so long has no one left to renew it
OLD_SECONDS = 600.0  # by the files' times: not even watched. Clocks of two hosts differ by less
SETTLE_SECONDS = 2.0  # between writing and reading back in an object store
_LOOK_SECONDS = 0.5

_WAKE = signal.SIGUSR2  # not SIGINT: jobs that a shell started in the background ignore that

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who works in a run. `started`: the process's start, in ticks since boot; numbers are used again."""

    host: str
    boot: str
    processes: str  # the name space of process numbers: containers of a host have their own
    pid: int
    started: int
    token: str
    renewed: float  # seconds since 1970, by the host's clock

    def is_of_this_host(self) -> bool:
        """Whether we can see for ourselves if it lives."""
        return bool(self.boot) and (self.boot, self.processes) == (_boot(), _process_space())

    def is_alive(self) -> bool:
        return _start_of(self.pid) == self.started


class Lease:
    """`lost` is set when another process has taken the run over."""

    def __init__(self, root: Location, token: str, wakes: bool) -> None:
        """wakes: whether the main thread is then interrupted, see `_woken`."""
        self.lost = threading.Event()
        self._file, self._root, self._token, self._wakes = root / LEASE, root, token, wakes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_ended, name="lease", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Stop renewing, and let others in if it is still ours."""
        self._ended.set()
        self._thread.join()
        with suppress(StorageError):
            if not self.lost.is_set() and _token_in(_read(self._file)) == self._token:
                self._file.remove()

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with suppress(StorageError, OSError):  # the work itself will tell; the next renewal may pass
                if not self._renew():
                    self.lost.set()
                    if self._wakes:
                        signal.pthread_kill(threading.main_thread().ident or 0, _WAKE)
                    return

    def _renew(self) -> bool:
        """Whether it is still ours."""
        found = _read(self._file)
        if found is None:  # someone removed it, or is about to put it back
            return _put(self._root, _mine(self._token), None)
        if _token_in(found) != self._token:
            return False
        self._file.write_whole(_mine(self._token))
        return True


@contextmanager
def hold_lease(root: Location, say: Say | None = None) -> Iterator[Lease]:
    """Keep other processes out of a run, as long as the body runs.

    A lease that nobody renews any more is taken over: at once if its process was of this host and is dead,
    else when it was watched for a while, which `say` is told. ConfigError if another one is at work there.
    LeaseLostError if another one took over from us, as soon as the main thread can be interrupted; in another
    thread, when the body ends.
    """
    in_main = threading.current_thread() is threading.main_thread()
    lease = Lease(root, _acquire(root, say or (lambda text: None)), wakes=in_main)
    try:
        with _woken() if in_main else nullcontext():
            lease.begin()
            try:
                yield lease
            finally:
                lease.end()
    except BaseException as error:
        if lease.lost.is_set():
            raise _lost(root) from error
        raise
    if lease.lost.is_set():
        raise _lost(root)


@contextmanager
def _woken() -> Iterator[None]:
    """Lets `_WAKE` interrupt the main thread, also while it waits, as Ctrl-C does."""
    before = signal.signal(_WAKE, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(_WAKE, before)


def _lost(root: Location) -> LeaseLostError:
    return LeaseLostError(
        f"{root}: another run took over, because this one did not answer for a while: nothing is lost, let "
        "the other one finish"
    )


def _acquire(root: Location, say: Say) -> str:
    """The token of our lease. ConfigError if another process has one and lives, or was faster."""
    token = uuid.uuid4().hex
    found = _read(root / LEASE)
    if found is not None:
        _refuse_living(root, found, say)
    if not _put(root, _mine(token), found):
        raise ConfigError(f"--out {root}: another xpaste began there at this moment: wait for it, or stop it")
    return token


def _refuse_living(root: Location, found: bytes, say: Say) -> None:
    """ConfigError if the lease's holder lives. Returns when it is known to be stale."""
    holder = _parse(found)
    if holder and holder.is_of_this_host():
        if not holder.is_alive():
            return
        if time.time() - holder.renewed < QUIET_SECONDS:
            raise _taken(root, holder)
    elif _age(root) > OLD_SECONDS:
        return
    who = f"process {holder.pid} on {holder.host}" if holder else "an unreadable lease"
    say(f"{root} is held by {who}: watching for {WATCH_SECONDS:.0f} s whether it is still at work")
    give_up = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < give_up:
        time.sleep(_LOOK_SECONDS)
        now = _read(root / LEASE)
        if now is None:
            return
        if now != found:
            raise _taken(root, _parse(now))


def _taken(root: Location, holder: _Holder | None) -> ConfigError:
    if holder is None:
        return ConfigError(f"--out {root}: another xpaste is at work there: wait for it, or stop it")
    ago = max(time.time() - holder.renewed, 0)
    return ConfigError(
        f"--out {root}: another xpaste is at work there (process {holder.pid} on {holder.host}, renewed "
        f"{ago:.0f} s ago): wait for it, or stop it"
    )


def _age(root: Location) -> float:
    """Seconds since the lease was written; negative if it is gone."""
    try:
        return time.time() - (root / LEASE).stamp()[1] / 1e9
    except FileNotFoundError:
        return -1.0


def _put(root: Location, mine: bytes, stale: bytes | None) -> bool:
    """Put our lease where `stale` is (None: where none is). Whether we got it."""
    file = root / LEASE
    if root.is_local:
        with suppress(_NoLinks):
            return _link(file.path, mine, stale)
    file.write_whole(mine)
    time.sleep(SETTLE_SECONDS)
    return _read(file) == mine


class _NoLinks(Exception):
    """A disk without hard links."""


def _link(file: Path, mine: bytes, stale: bytes | None) -> bool:
    """A link is made by one process only, and so a stale lease is taken away by one only."""
    aside, grabbed = (file.with_name(f"{file.name}.{uuid.uuid4().hex}{ASIDE_SUFFIX}") for _ in range(2))
    try:
        aside.write_bytes(mine)
        if stale is not None:
            with suppress(FileNotFoundError):  # taken away by another: the link tells who is first
                file.rename(grabbed)
                if grabbed.read_bytes() != stale:  # it was a faster one's: it gets it back
                    with suppress(FileExistsError):
                        os.link(grabbed, file)
                    return False
        os.link(aside, file)
    except FileExistsError:
        return False
    except OSError as error:
        raise _NoLinks from error
    finally:
        for path in (aside, grabbed):
            path.unlink(missing_ok=True)
    return True


def _mine(token: str) -> bytes:
    started = _start_of(os.getpid()) or 0
    holder = _Holder(
        socket.gethostname(), _boot(), _process_space(), os.getpid(), started, token, renewed=time.time()
    )
    return (json.dumps(asdict(holder), indent=2) + "\n").encode()


def _read(file: Location) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _parse(found: bytes) -> _Holder | None:
    """None if it is damaged, or of another version's making."""
    try:
        return _Holder(**json.loads(found))
    except (ValueError, TypeError):
        return None


def _token_in(found: bytes | None) -> str | None:
    holder = _parse(found) if found is not None else None
    return holder.token if holder else None


def _boot() -> str:
    """Another one after each start of the machine; "" where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _process_space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_of(pid: int) -> int | None:
    """When a process began, in ticks since boot; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    state, started = fields[0], fields[19]
    return None if state in "ZX" else int(started)
