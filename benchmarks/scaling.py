"""`xpaste compose` as a whole: images a second on 1 and 2 workers, and the driver's memory.

The datasets are written to memory where the machine has /dev/shm, so that processors are measured and no
disk: ext4, for one, takes many times as long to create a file for minutes after others were deleted.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from material import photo_folder
from measuring import Gate

from xpaste_ray.pool import Pool

IMAGES = 4000
ROUNDS = 3
SMALL, LARGE = 2_000, 20_000
USUAL = ("--set=compose.canvas.fit=resize", "--set=compose.instances=[10, 10]")
TINY = (
    "--set=compose.canvas={size_hw: [64, 64], fit: resize, scale: [1, 1], flip_probability: 0}",
    "--set=compose.instances=[2, 2]",
)
_RUN = """
import resource, sys
sys.argv[0] = "xpaste"
from xpaste_ray.cli import main
try:
    main()
finally:
    print("driver KiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def measure_scaling(work: Path, pool: Pool) -> tuple[list[Gate], dict[str, Any]]:
    photos, tiny = (photo_folder(work / f"scaling-photos-{side}", side) for side in (640, 64))
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else work) as name:
        out = Path(name)
        rates = [
            {workers: images_per_s(pool, photos, out / f"{workers}", workers) for workers in (1, 2)}
            for _ in range(ROUNDS)
        ]
        driver_kib = {
            count: compose(pool, tiny, out / f"many-{count}", count, "--workers=2", *TINY)
            for count in (SMALL, LARGE)
        }
    speed_up = statistics.median(rate[2] / rate[1] for rate in rates)
    growth = driver_kib[LARGE] / driver_kib[SMALL]
    gates = [
        Gate("2 workers: x 1 worker", speed_up, ">=", 1.7),
        Gate(f"driver memory, {LARGE:,}: x {SMALL:,}", growth, "<=", 1.1),
    ]
    driver_mib = {count: kib / 1024 for count, kib in driver_kib.items()}
    return gates, {"images_per_s": rates, "driver_mib": driver_mib}


def images_per_s(pool: Pool, photos: Path, out: Path, workers: int) -> float:
    compose(pool, photos, out, IMAGES, f"--workers={workers}", *USUAL)
    rate = steady_rate(out)
    shutil.rmtree(out)
    print(f"--workers={workers}: {rate:.0f} images/s", flush=True)
    return rate


def compose(pool: Pool, photos: Path, out: Path, count: int, *options: str) -> float:
    """Run it in a process of its own; returns the peak of the driver's resident memory in KiB."""
    paths = ("--pool", str(pool.folder), "--backgrounds", str(photos), "--out", str(out))
    command = ["compose", *paths, f"--count={count}", "--format=coco", *options]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *command], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("driver KiB"))
    return float(line.split()[-1])


def steady_rate(dataset: Path) -> float:
    """Images a second between the first and the last tenth of the shards, by their commits' times."""
    commits = sorted((dataset / "fragments").glob("*.json"), key=lambda path: path.stat().st_mtime)
    part = commits[len(commits) // 10 : -len(commits) // 10]
    first, last = (int(side) for side in part[0].stem.split("-"))
    elapsed = part[-1].stat().st_mtime - part[0].stat().st_mtime
    return (len(part) - 1) * (last - first + 1) / elapsed
