"""Throughput of the pool pipeline: on processors, on logical GPUs, and with a million prompts.

    python benchmarks/pipeline.py                 about 20 minutes on 2 cores
    python benchmarks/pipeline.py gpus backlog    some parts only; nothing is written

Parts: plain (the embedded models against one plain process), gpus (one card and eight), auto (its plan
against plans by hand), memory (the driver's), resume, selection, backlog (the object store's).
The stand-ins for models are those of the tests: they sleep a model's time and pass real images.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PATHS = [str(ROOT), str(ROOT / "benchmarks")]
sys.path[:0] = PATHS  # here, and in the processes of Ray
os.environ["PYTHONPATH"] = os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
os.environ["RAY_AUTH_MODE"] = "disabled"

import backlog  # noqa: E402
import fleet  # noqa: E402
import large_runs  # noqa: E402
import plain_loop  # noqa: E402
from measuring import Gate, finish  # noqa: E402

UNITS_A_GPU = 13  # so that each card has ten and more from its second one on
UNITS_A_GPU_BY_HAND = 6
SMALL, LARGE = 10_000, 1_000_000
MEMORY_SECONDS = 300.0  # of the large run; what it does not reach is reckoned from its growth
DONE = 0.99

Part = tuple[list[Gate], dict[str, Any]]


def plain(work: Path) -> Part:
    ours = apart(plain_loop.pipeline_images_per_s, work / "pipeline")
    loop = apart(plain_loop.plain_images_per_s, work / "plain")
    gate = Gate("embedded models: x one plain process", ours / loop, ">=", 0.9)
    return [gate], {"pipeline_images_per_s": ours, "plain_images_per_s": loop}


def gpus(work: Path) -> Part:
    """Sleeping H200s: one, and eight."""
    one, eight = (apart(fleet.measure, work / f"gpus-{n}", n, n * UNITS_A_GPU) for n in (1, 8))
    gates = [
        Gate("8 GPUs: seconds until all are busy", eight["all_busy_after_s"], "<=", 30),
        Gate("8 GPUs: busy, the least busy one", min(eight["busy"]), ">=", 0.95),
        Gate("8 GPUs: units a GPU, the least", min(eight["units_a_gpu"]), ">=", 11),
        Gate("8 GPUs: x 8 times one", eight["images_per_s"] / 8 / one["images_per_s"], ">=", 0.95),
        Gate("1 GPU: overhead over its sleep", 1 / one["busy"][0] - 1, "<=", 0.03),
    ]
    return gates, {"runs": [one, eight]}


def auto(work: Path) -> Part:
    """`auto` on four cards beside plans by hand: images a second from each card's second unit on."""
    plans = {"auto": None, **fleet.PLANS_BY_HAND}
    runs = {
        name: apart(fleet.measure, work / f"plan-{number}", 4, 4 * UNITS_A_GPU_BY_HAND, plan)
        for number, (name, plan) in enumerate(plans.items())
    }
    by_hand = max(run["images_per_s"] for name, run in runs.items() if name != "auto")
    gate = Gate("auto: x the best plan by hand", runs["auto"]["images_per_s"] / by_hand, ">=", 0.9)
    return [gate], runs


def memory(work: Path) -> Part:
    small, large = (
        apart(large_runs.watch_driver, work / f"memory-{prompts}", prompts, MEMORY_SECONDS)
        for prompts in (SMALL, LARGE)
    )
    left = large["units"] - large["units_done"]
    peak = large["peak_mib"] + max(0.0, large["mib_per_1000_units"]) * left / 1000
    gate = Gate(f"driver memory, {LARGE:,} prompts: x {SMALL:,}", peak / small["peak_mib"], "<=", 1.1)
    return [gate], {"runs": [small, large], "reckoned_peak_mib": peak}


def resume(work: Path) -> Part:
    root = work / "resume"
    apart(large_runs.fabricate, root, LARGE, DONE)
    seconds = apart(large_runs.seconds_to_work, root, LARGE, time.time())
    gate = Gate(f"{LARGE:,} prompts, {DONE:.0%} done: seconds until it works", seconds, "<=", 60)
    return [gate], {"seconds": seconds}


def selection(work: Path) -> Part:
    """Told, and held to no gate."""
    return [], apart(large_runs.measure_selection, LARGE)


def stored(work: Path) -> Part:
    found = apart(backlog.measure_backlog, work / "backlog")
    gates = [
        Gate(
            "slow consumer: object store's peak / bound", found["peak_bytes"] / found["bound_bytes"], "<=", 1
        ),
        Gate("slow consumer: bytes spilled", found["spilled_bytes"], "<=", 0),
    ]
    return gates, found


PARTS: dict[str, Callable[[Path], Part]] = {
    "plain": plain, "gpus": gpus, "auto": auto, "memory": memory, "resume": resume, "selection": selection,
    "backlog": stored,
}  # fmt: skip


def apart(work: Callable[..., Any], *args: Any) -> Any:
    """Its result, from a process of its own: memory is counted from nothing, and each has its own Ray."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work, *args).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    names = parser.parse_args().parts or list(PARTS)
    if unknown := set(names) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    gates, details = [], {}
    for name in names:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="xpaste-bench-") as folder:
            kept, details[name] = PARTS[name](Path(folder))
        gates += kept
        seconds = details[name]["part_seconds"] = time.perf_counter() - began
        print(
            f"{name}: {seconds:.0f} s",
            *(f"  {gate.name}: {gate.value:.3f}" for gate in kept),
            sep="\n",
            flush=True,
        )
    if set(names) == set(PARTS):
        finish("pipeline", gates, details)
    print(details)


if __name__ == "__main__":
    main()
