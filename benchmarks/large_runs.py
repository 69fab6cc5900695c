"""Runs of a million prompts: what the driver needs, how soon a run goes on, how long selection takes.

Images are small and stand-ins take no time: what is measured grows with the number of units.
"""

import _thread
import logging
import os
import resource
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from prompt_runs import CATEGORIES, stand_in_inputs, stand_in_run

from tests import standins
from xpaste_ray.config import PoolSettings, load
from xpaste_ray.errors import RunError, XPasteError
from xpaste_ray.pace import NOTHING_KNOWN, StageState
from xpaste_ray.pipelines.pool import PoolJob
from xpaste_ray.pipelines.stage_code import StageCode
from xpaste_ray.pipelines.steps import plan_steps
from xpaste_ray.pipelines.units import OpenPrompts, unit_names
from xpaste_ray.records import SCORES, Candidate
from xpaste_ray.runs import open_run, remove_leftovers
from xpaste_ray.selection import select
from xpaste_ray.unit_files import write_unit

_MIB = 1024**2
_SIDE_PX = 8
_STORED_SIDE_PX = 64  # 16 such images are over 100 kB: as real units, they go to the object store


class Sampler:
    """A run's progress: notes resident bytes by units done, and ends the run after `limit_s`."""

    def __init__(self, limit_s: float) -> None:
        self.samples: list[tuple[int, int]] = []
        self._limit_s = limit_s
        self._began = 0.0

    def begin(self, totals: dict[str, int], unit: str) -> None:
        self._began = time.perf_counter()

    def advance(self, stage: str, done: int, state: StageState = NOTHING_KNOWN) -> None:
        if stage == "write" and done:
            self.samples.append((done, resident_bytes()))
            if self.seconds() > self._limit_s:
                _thread.interrupt_main()

    def say(self, text: str) -> None: ...

    def seconds(self) -> float:
        return time.perf_counter() - self._began


def watch_driver(root: Path, prompts: int, limit_s: float) -> dict[str, Any]:
    """Resident memory of a driver, by units done, of all units or of those that `limit_s` allows."""
    import ray

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    inputs, sampler = stand_in_inputs(prompts), Sampler(limit_s)
    code = standins.code(source={"side_px": _STORED_SIDE_PX})
    with open_run(root) as run:
        job = PoolJob(run, inputs, plan_steps(inputs), sampler, code=code)
        with suppress(KeyboardInterrupt):
            job.make()
        seconds, units = sampler.seconds(), len(unit_names(run))
    ray.shutdown()
    samples = sampler.samples
    return {
        "prompts": prompts,
        "units": units,
        "units_done": samples[-1][0],
        "units_per_s": samples[-1][0] / seconds,
        "peak_mib": max(size for _, size in samples) / _MIB,
        "mib_per_1000_units": growth(samples[len(samples) // 2 :]) * 1000 / _MIB,  # warm by then
        "resident": [{"units": done, "mib": round(size / _MIB, 1)} for done, size in samples[::5]],
    }


def growth(samples: Sequence[tuple[int, int]]) -> float:
    """Bytes a unit: the slope of the straight line that fits best."""
    units, size = np.array(samples, float).T
    return float(np.polyfit(units, size, 1)[0]) if len(samples) > 1 else 0.0


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Stop:
    """A source that notes when its first unit comes, and ends the run there."""

    def __init__(self, note: Path) -> None:
        self._note = note

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        self._note.write_text(str(time.time()))
        raise XPasteError("the benchmark ends here")


class Quiet:
    """Progress that nobody sees."""

    def begin(self, totals: dict[str, int], unit: str) -> None: ...

    def advance(self, stage: str, done: int, state: StageState = NOTHING_KNOWN) -> None: ...

    def say(self, text: str) -> None: ...


def fabricate(root: Path, prompts: int, done: float) -> None:
    """A run whose first units are done: hard links to one small file of the right recipe."""
    run, inputs = stand_in_run(root, prompts), stand_in_inputs(prompts)
    names = [unit.id for unit in unit_names(run)]
    first, *others = names[: int(done * len(names))]
    candidates = standins.Score()(standins.Segment()(standins.Source(side_px=_SIDE_PX)([_candidate(run)])))
    write_unit(run, 0, 0, candidates, plan_steps(inputs)["score"].fingerprint, inputs.embedding_dim)
    for name in others:
        path = run.unit_file(name).path
        path.parent.mkdir(exist_ok=True)
        path.hardlink_to(run.unit_file(first).path)


def _candidate(run: Any) -> Candidate:
    (unit, *_) = OpenPrompts(run)(pa.table({"row": [0]}))
    found: Candidate = unit["candidates"][0]
    return found


def seconds_to_work(root: Path, prompts: int, began: float) -> float:
    """From `began` (the clock's seconds) until the first stage begins a unit of the fabricated run."""
    import ray

    logging.getLogger("ray.data.exceptions").setLevel(logging.CRITICAL)  # of the end that is meant
    note = root / "began.txt"
    code = {**standins.code(), "source": StageCode(f"{__name__}:Stop", {"note": note})}
    inputs = stand_in_inputs(prompts)
    with open_run(root) as run:
        remove_leftovers(run)
        try:
            PoolJob(run, inputs, plan_steps(inputs), Quiet(), code=code).make()
        except RunError:
            pass
        finally:
            ray.shutdown()
    return float(note.read_text()) - began


def measure_selection(candidates: int) -> dict[str, Any]:
    """Seconds and memory of the selection rule on so many candidates with a proposal each."""
    scores = fabricated_scores(candidates)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rule = load(PoolSettings, "demo").select
    began = time.perf_counter()
    selection = select(scores, rule)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "candidates": selection.candidates,
        "kept": selection.kept.num_rows,
        "seconds": seconds,
        "more_mib": (after - before) * 1024 / _MIB,
        "table_mib": scores.nbytes / _MIB,
    }


def fabricated_scores(candidates: int) -> pa.Table:
    """Rows of `SCORES`, index-major as a run makes them; a tenth was rejected by the source."""
    rows = np.arange(candidates)
    category, index = rows % CATEGORIES, rows // CATEGORIES
    rejected = rows % 10 == 9
    logits = np.random.default_rng(0).uniform(30, 100, candidates).astype(np.float32)
    known = {
        "round": index.astype(np.int32),
        "unit": (category // 16).astype(np.int32),
        "candidate_id": [f"{c}-{i}-benchmar" for c, i in zip(category, index, strict=True)],
        "category_id": category,
        "category": [f"category_{c}" for c in category],
        "index": index,
        "candidate_status": np.where(rejected, "rejected", "ok"),
        "candidate_reason": pa.array(np.full(candidates, "black_image"), mask=~rejected),
        "transient": np.zeros(candidates, bool),
        "method": pa.array(np.full(candidates, "stand-in"), mask=rejected),
        "ordinal": pa.array(np.zeros(candidates, np.int32), mask=rejected),
        "status": pa.array(np.full(candidates, "ok"), mask=rejected),
        "reason": pa.nulls(candidates, pa.string()),
        "area_fraction": pa.array(np.full(candidates, 0.3, np.float32), mask=rejected),
        "clip_logit": pa.array(logits, mask=rejected),
    }
    return pa.table(known).select(SCORES.names).cast(SCORES)
