"""`xpaste serve` as a user starts it, and what its processes take: read from /proc, so on Linux only."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo import XPASTE, tree

TITLES = {"ray::ServeReplica": "replica", "ray::ProxyActor": "proxy", "ray::HAProxy": "proxy"}
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LOOK_EVERY_S = 0.02
_START_S, _END_S = 180, 90


@dataclass(frozen=True, slots=True)
class Process:
    """role: `replica` or `proxy`."""

    pid: int
    role: str

    def cpu_s(self) -> float:
        """Of all its threads, since it began."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def mib(self, name: str) -> float:
        """A line of its status: `VmRSS`, `RssAnon` ..."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith(f"{name}:"))
        return int(line.split()[1]) / 1024

    def mapped_mib(self, folder: Path, name: str) -> float:
        """`Rss` or `Pss` of what it has mapped of the folder's files."""
        found, inside = 0, False
        for line in Path(f"/proc/{self.pid}/smaps").read_text().splitlines():
            first = line.split(maxsplit=1)[0]
            if not first.endswith(":"):  # the head of a mapping: its addresses, and its file last
                inside = f"{folder}/" in line
            elif inside and first == f"{name}:":
                found += int(line.split()[1])
        return found / 1024


class Server:
    """A context: up from its start to its end, on a free port of loopback."""

    def __init__(self, log: Path, options: Sequence[str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log, self._command = log, [str(XPASTE), "serve", f"--port={port}", *options]

    def __enter__(self) -> "Server":
        """seconds_to_ready: from its start to the first 200 of /readyz."""
        began = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while not self._is_ready():
                if self._process.poll() is not None or time.perf_counter() - began > _START_S:
                    raise RuntimeError(f"the server does not start: {self._log.read_text()}")
                time.sleep(_LOOK_EVERY_S)
        except BaseException:
            self.__exit__()
            raise
        self.seconds_to_ready = time.perf_counter() - began
        return self

    def __exit__(self, *_: object) -> None:
        started = tree(self._process.pid)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            for pid in started:
                os.kill(pid, signal.SIGKILL)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def processes(self) -> list[Process]:
        """Those of now: HAProxy puts a new one in its place when its configuration changes."""
        return [process for pid in tree(self._process.pid) if (process := _known(pid))]

    def replicas(self) -> list[Process]:
        return [process for process in self.processes() if process.role == "replica"]

    def cpu_s(self) -> dict[Process, float]:
        return {process: process.cpu_s() for process in self.processes()}

    def mib(self) -> dict[str, float]:
        """Resident memory of all processes, by role."""
        return by_role({process: process.mib("VmRSS") for process in self.processes()})


def by_role(values: Mapping[Process, float]) -> dict[str, float]:
    """Sums."""
    return {
        role: sum(value for process, value in values.items() if process.role == role)
        for role in ("replica", "proxy")
    }


def _known(pid: int) -> Process | None:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    title = command[0].decode()
    if Path(title).name == "haproxy":
        return Process(pid, "proxy")
    return next((Process(pid, role) for start, role in TITLES.items() if title.startswith(start)), None)
