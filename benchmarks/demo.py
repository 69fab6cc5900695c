"""What the first run costs: seconds and memory of `xpaste demo` as a user starts it.

    python benchmarks/demo.py

runs the demo into a temporary folder, then again (where it must find everything done), and writes
`benchmarks/results/demo.json`. Exits with 1 if a gate is missed.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Gate, finish

XPASTE = Path(sys.executable).with_name("xpaste")
_SAMPLE_EVERY_S = 2.0  # reading the maps of all processes costs time itself


def run(out: Path) -> tuple[float, float]:
    """Seconds and peak memory in GiB of one `xpaste demo --out out`."""
    began = time.perf_counter()
    process = subprocess.Popen([XPASTE, "demo", "--out", out])
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(memory_bytes, tree(process.pid))))
        time.sleep(_SAMPLE_EVERY_S)
    if process.returncode:
        raise SystemExit(f"xpaste demo failed with {process.returncode}")
    return time.perf_counter() - began, peak / 1024**3


def tree(root: int) -> list[int]:
    """The process and all its descendants: the driver, Ray's own processes and the actors."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def memory_bytes(pid: int) -> int:
    """Proportional set size: pages that several processes share count once in the sum."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        seconds, memory = run(out)
        again, _ = run(out)
        record = json.loads((out / "run.json").read_text())
    gates = [
        Gate("seconds", seconds, "<=", 180),
        Gate("peak memory, GiB", memory, "<=", 6),
        Gate("seconds when done", again, "<=", 10),
    ]
    finish("demo", gates, {"counts": record["counts"], "times": record["times"]})


if __name__ == "__main__":
    main()
