"""Runs with faults: drivers in processes of their own, and what must be true of a run afterwards."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from tests.pipelines.faults.driver import Job

ROOT = Path(__file__).resolve().parents[3]
ENDS_WITHIN_S = 150  # any driver of these tests, killed or not

_NOT_COMPARED = {"run.json", ".lease.json"}  # they tell times and hosts


class Driver:
    """A driver process and everything that it starts."""

    def __init__(
        self, job: Job, ray: str | None, command: tuple[str, ...], told: Path | None, path: tuple[Path, ...]
    ) -> None:
        told = (told or job.out).with_suffix(".job")
        told.write_bytes(pickle.dumps(job))
        self._log = told.with_suffix(".log")
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        environment |= {"PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))), "RAY_AUTH_MODE": "disabled"}
        environment |= {"RAY_ADDRESS": ray} if ray else {}
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, sys.executable, "-m", "tests.pipelines.faults.driver", str(told)],
                stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True,
            )  # fmt: skip

    @property
    def shown(self) -> str:
        return self._log.read_text()

    def until(self, condition: Callable[[], object], what: str, seconds: float = ENDS_WITHIN_S) -> None:
        """Wait for something while the driver works."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the driver ended before {what}:\n{self.shown}"
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s:\n{self.shown}"
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=30)

    def end(self, seconds: float = ENDS_WITHIN_S) -> int:
        """Its exit code."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the driver hangs:\n{self.shown}") from None

    def clean_up(self) -> None:
        """Kill the driver and every process of its session: Ray's stay in it."""
        for pid in psutil.pids():
            with suppress(OSError):
                if os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(timeout=30)


@contextmanager
def driving(
    job: Job,
    ray: str | None = None,
    command: tuple[str, ...] = (),
    told: Path | None = None,
    path: tuple[Path, ...] = (),
) -> Iterator[Driver]:
    """ray: the address of a running one; else the driver starts its own. command: what starts the driver's
    interpreter. told: where its job and log lie, beside the run if not given. path: more of PYTHONPATH."""
    driver = Driver(job, ray, command, told, path)
    try:
        yield driver
    finally:
        driver.clean_up()


def run(job: Job, ray: str | None = None, code: int = 0, seconds: float = ENDS_WITHIN_S) -> str:
    """Build to the end; what it said. It must end with this exit code."""
    with driving(job, ray) as driver:
        ended = driver.end(seconds)
        assert ended == code, f"exit code {ended}:\n{driver.shown}"
        return driver.shown


def unit_files(out: Path) -> list[Path]:
    return sorted(out.glob("candidates/*/unit-*.parquet"))


def processes(notes: Path, stage: str) -> list[int]:
    """Ids of the stage's processes that are alive, from their notes."""
    told = (int(path.name.split(".")[1]) for path in notes.glob(f"{stage}.*"))
    return [pid for pid in told if _alive(pid)]


def _alive(pid: int) -> bool:
    with suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def images_run(notes: Path, stage: str) -> list[str]:
    """Names of all images that the stage was given, as often as it was given them."""
    lines = [line for path in notes.glob(f"{stage}.*") for line in path.read_text().splitlines()]
    return [name for line in lines if line != "loaded" for name in line.split()]


def files(out: Path) -> dict[str, bytes]:
    """Every file of a run but those that tell times and hosts."""
    found = (path for path in out.rglob("*") if path.is_file() and path.name not in _NOT_COMPARED)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


def candidates(out: Path) -> dict[str, dict[str, Any]]:
    """All rows of the unit files, by "banana-1", each prompt of the work list exactly once."""
    units = pq.read_table(out / "units.parquet")["prompts"].to_pylist()
    asked = sorted(prompt["candidate_id"] for unit in units for prompt in unit)
    rows = [row for path in unit_files(out) for row in pq.ParquetFile(path).read().to_pylist()]
    assert sorted(row["candidate_id"] for row in rows) == asked
    assert len(set(asked)) == len(asked)
    return {f"{row['category']}-{row['index']}": row for row in rows}


def assert_same_run(out: Path, reference: Path) -> None:
    """Every prompt once, and every file as in the undisturbed run: the sealed pool, too. Pools of the scores
    before a retry are left where they are."""
    candidates(out)
    current = json.loads((out / "pool.json").read_text())["current"]
    one, two = files(out), files(reference)
    one = {name: data for name, data in one.items() if not name.startswith("pools/") or current in name}
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []


def assert_same_but(out: Path, reference: Path, rejected: Mapping[str, str]) -> None:
    """Every prompt once; these are rejected, each for its reason, and all others as undisturbed. Counts
    balance, and what was rejected is not in the pool."""
    made, undisturbed = candidates(out), candidates(reference)
    assert {name: row["reason"] for name, row in made.items() if row["status"] != "ok"} == rejected
    assert [name for name in made if name not in rejected and made[name] != undisturbed[name]] == []
    counts = json.loads((out / "run.json").read_text())["counts"]["candidates"]
    assert counts["made"] == len(made)
    assert counts["kept"] + sum(counts["rejected"].values()) == len(made)
    for reason in set(rejected.values()):
        assert counts["rejected"][reason] == list(rejected.values()).count(reason)
