"""The service as a user starts it: `xpaste serve` in processes of its own, with a pool of twelve discs."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.conftest import seal_discs

COUNTS = {"banana": 4, "frog": 3, "lion": 5}
TOKEN = "a-token-of-the-tests-0123456789"
_XPASTE = str(Path(sys.executable).parent / "xpaste")
_READY_S, _ENDED_S = 90, 60
_PROXIES = ("haproxy", "ray::ProxyActor", "ray::HAProxyManager")


@dataclass
class Live:
    """A running service. url: without a path. home: of this server; pool, log and token file are there."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    home: Path
    haproxy: bool

    def client(self, **options: object) -> httpx.Client:
        """Of someone who has the token, if there is one."""
        headers = {"Authorization": f"Bearer {TOKEN}"} if (self.home / "tokens").exists() else {}
        return httpx.Client(base_url=self.url, timeout=60, headers=headers, trust_env=False, **options)

    def pids(self, *names: str) -> list[int]:
        """Of the processes of this server whose title has one of the names."""
        return [pid for pid in _descendants(self.process.pid) if any(name in _title(pid) for name in names)]

    @property
    def proxies(self) -> list[int]:
        return self.pids(*_PROXIES)

    @property
    def replicas(self) -> list[int]:
        return self.pids("ray::ServeReplica")

    def memory(self) -> dict[int, float]:
        """Resident megabytes by pid, of proxies and replicas."""
        return {pid: rss_mb(pid) for pid in (*self.proxies, *self.replicas)}

    def logged(self, text: str) -> list[str]:
        """Lines of the replicas' logs with the text."""
        return [
            line
            for file in (self.home / "ray").glob("session_2*/logs/serve/*")
            if file.is_file()
            for line in file.read_text(errors="replace").splitlines()
            if text in line
        ]

    def said(self) -> str:
        """What a user saw on the terminal."""
        return (self.home / "terminal").read_text()

    def end(self) -> float:
        """Ctrl-C; the seconds that it took to be gone."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(_ENDED_S)
        return time.monotonic() - began


@contextlib.contextmanager
def live(
    *options: str, haproxy: bool = False, token: bool = True, env: dict[str, str] | None = None
) -> Iterator[Live]:
    """`xpaste serve` on a free port, ready. options: of the command. env: on top of this one."""
    with tempfile.TemporaryDirectory(prefix="xps-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        home = Path(folder)  # short: it holds sockets, whose paths are bounded
        seal_discs(home / "run", COUNTS)
        command = [_XPASTE, "serve", "--pool", str(home / "run" / "pools" / "pool"), *options]
        if token:
            (home / "tokens").write_text(TOKEN + "\n")
            command += ["--token-file", str(home / "tokens")]
        port = free_port()
        command += ["--port", str(port), *(["--haproxy"] if haproxy else [])]
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        own |= {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
        with (home / "terminal").open("wb") as terminal:
            process = subprocess.Popen(
                command, env=own | (env or {}), stdout=terminal, stderr=subprocess.STDOUT,
                start_new_session=True,  # nobody else's Ctrl-C
            )  # fmt: skip
        server = Live(f"http://127.0.0.1:{port}", port, process, home, haproxy)
        family: Sequence[int] = ()
        try:
            _wait_until_ready(server)
            family = _descendants(process.pid)
            yield server
        finally:
            try:
                server.end()
            finally:
                _kill([process.pid, *family])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def alive(pids: Sequence[int]) -> list[int]:
    """Those that still run; a zombie does not."""
    return [pid for pid in pids if _stat(pid)[0] not in ("", "Z")]


def _wait_until_ready(server: Live) -> None:
    give_up = time.monotonic() + _READY_S
    while True:
        assert server.process.poll() is None, server.said()
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{server.url}/readyz", timeout=5, trust_env=False).status_code == 200:
                return
        assert time.monotonic() < give_up, server.said()
        time.sleep(0.1)


def _descendants(pid: int) -> list[int]:
    """Children, theirs, and so on; the numbers of processes that ended meanwhile are left out."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        state, parent = _stat(int(folder.name))
        if state not in ("", "Z"):
            children.setdefault(parent, []).append(int(folder.name))
    found, todo = [], [pid]
    while todo:
        born = children.get(todo.pop(), [])
        found += born
        todo += born
    return found


def _stat(pid: int) -> tuple[str, int]:
    """State and parent; ("", 0) if there is no such process."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", 0
    return told[0], int(told[1])


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _kill(pids: Sequence[int]) -> None:
    for pid in alive(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
