"""What a first run costs: seconds and memory of `xpaste demo` as a user starts it.

    python benchmarks/demo.py [--preset empaste-demo]

runs the demo into a temporary folder, then again (where it must find everything done), and writes
`benchmarks/results/<preset>.json`. Exits with 1 if a gate is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Gate, finish

XPASTE = Path(sys.executable).with_name("xpaste")
MOST_SECONDS = {"demo": 180, "empaste-demo": 480}
_SAMPLE_EVERY_S = 2.0  # reading the maps of all processes costs time itself


def run(preset: str, out: Path) -> tuple[float, float]:
    """Seconds and peak memory in GiB of one `xpaste demo --preset preset --out out`."""
    began = time.perf_counter()
    process = subprocess.Popen([XPASTE, "demo", "--preset", preset, "--out", out])
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
    parser = argparse.ArgumentParser(description="What a first run costs.")
    parser.add_argument("--preset", choices=MOST_SECONDS, default="demo")
    preset = parser.parse_args().preset
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        seconds, memory = run(preset, out)
        again, _ = run(preset, out)
        records = {path.parent.name: json.loads(path.read_text()) for path in sorted(out.glob("**/run.json"))}
    gates = [
        Gate("seconds", seconds, "<=", MOST_SECONDS[preset]),
        Gate("peak memory, GiB", memory, "<=", 6),
        Gate("seconds when done", again, "<=", 10),
    ]
    told = {name: {"counts": one.get("counts"), "times": one["times"]} for name, one in records.items()}
    command = f"python benchmarks/demo.py --preset {preset}"
    finish(preset, gates, told if len(told) > 1 else next(iter(told.values())), command=command)


if __name__ == "__main__":
    main()
