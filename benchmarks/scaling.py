"""`xpaste compose` as a whole: images a second on 1 and 2 workers, and the driver's memory."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from material import photo_folder
from measuring import Gate

from xpaste_ray.pool import Pool

IMAGES = 3000
SMALL, LARGE = 2_000, 20_000
USUAL = (
    "--set=compose.canvas.fit=resize",
    "--set=compose.instances=[10, 10]",
    "--set=compose.samples_per_shard=25",
)
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
    photos = photo_folder(work / "photos-640", 640)
    rates = {}
    for workers in (1, 2):
        out = work / f"workers-{workers}"
        compose(pool, photos, out, IMAGES, f"--workers={workers}", *USUAL)
        rates[workers] = steady_rate(out)
    tiny = photo_folder(work / "photos-64", 64)
    memory = {
        count: compose(pool, tiny, work / f"many-{count}", count, "--workers=2", *TINY)
        for count in (SMALL, LARGE)
    }
    gates = [
        Gate("2 workers: x 1 worker", rates[2] / rates[1], ">=", 1.7),
        Gate(f"driver memory, {LARGE:,}: x {SMALL:,}", memory[LARGE] / memory[SMALL], "<=", 1.1),
    ]
    return gates, {"images_per_s": rates, "driver_mib": {k: v / 1024 for k, v in memory.items()}}


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
