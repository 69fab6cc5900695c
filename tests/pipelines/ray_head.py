"""A Ray head of a test's own: started by `ray start` on loopback, ended process by process.

`ray stop` would end every Ray on the machine, so the processes are found by a mark in their environment,
which everything that a head starts inherits: its raylet, agents and workers, and the drivers of its jobs.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BIN = Path(sys.executable).parent
_RAY = str(_BIN / "ray")
_START_DEADLINE_S = 150
_STOP_DEADLINE_S = 30
_MARK = "XPASTE_TESTS_HEAD"


@dataclass(frozen=True)
class Head:
    """address: of the job server, http://127.0.0.1:port. env: of a client that may use the head."""

    address: str
    env: dict[str, str]

    def submit(
        self, submission_id: str, working_dir: Path, entrypoint: list[str], timeout_s: float, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """`ray job submit`, which follows the job's log to its end; `env` replaces values of the client's."""
        target = ["--address", self.address, "--submission-id", submission_id]
        return subprocess.run(
            [_RAY, "job", "submit", *target, "--working-dir", str(working_dir), "--", *entrypoint],
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def job(self, submission_id: str) -> dict[str, Any]:
        """What the job server tells of a job; without a token."""
        with urllib.request.urlopen(f"{self.address}/api/jobs/{submission_id}", timeout=30) as answer:
            told: dict[str, Any] = json.load(answer)
        return told


@contextlib.contextmanager
def ray_head(env: dict[str, str], num_cpus: int = 4) -> Iterator[Head]:
    """A head with a job server; `env` must set RAY_AUTH_MODE, here and for the clients."""
    folder = Path(
        tempfile.mkdtemp(prefix="xp-", dir="/tmp")
    )  # short: it holds sockets, whose paths are bounded
    dashboard, *others = _free_ports(3)
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    client = own | {"PATH": f"{_BIN}:{own['PATH']}", "RAY_USAGE_STATS_ENABLED": "0"} | env
    command = [
        *(_RAY, "start", "--head", "--node-ip-address=127.0.0.2", "--port=0", f"--temp-dir={folder}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--dashboard-agent-listen-port={others[0]}", f"--ray-client-server-port={others[1]}"),
        *(f"--num-cpus={num_cpus}", "--num-gpus=0", f"--object-store-memory={256 * 1024**2}"),
    ]
    try:
        started = subprocess.run(
            command,
            env=client | {_MARK: folder.name},
            capture_output=True,
            text=True,
            timeout=_START_DEADLINE_S,
        )
        if started.returncode:
            raise HeadNotStarted(started.stdout + started.stderr)
        yield Head(f"http://127.0.0.1:{dashboard}", client)
    finally:
        _end_marked(folder.name)
        shutil.rmtree(folder, ignore_errors=True)


class HeadNotStarted(Exception):
    """`ray start` failed; what it said."""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _end_marked(mark: str) -> None:
    """Kill every process of a head, and those that they start meanwhile."""
    deadline = time.monotonic() + _STOP_DEADLINE_S
    while pids := _marked(mark):
        assert time.monotonic() < deadline, f"processes {pids} of the head do not end"
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _marked(mark: str) -> list[int]:
    """The living processes whose environment has the mark."""
    entry = f"{_MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is someone else's
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found
