"""Pools: how fast one is sealed, and what each encoding of its pixels costs.

Sealed are instances of 512x512 px from candidates files as a run writes them: photographs, and the outlines
of the shipped objects as their soft masks. First pinned to one core, in turns with a floor: read the same
columns, decode the same two PNGs, write as many bytes, with the same libraries. Then by tasks on Ray. How
many a second that is depends on the machine, and on its hour; the ratio to the floor does not.

python benchmarks/pool.py    about 3 minutes on 2 cores
"""

import os
import shutil
import statistics
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from compose import Case, settings_of
from material import photo_folder
from measuring import Gate, finish

from xpaste_ray.backgrounds import Backgrounds, open_or_index, resolve_source
from xpaste_ray.categories import lvis_categories
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.config import CutoutSettings
from xpaste_ray.embedded import OBJECTS_DIR
from xpaste_ray.formats.images import ImageEncoding, encode_image
from xpaste_ray.masks import decode_png
from xpaste_ray.pool import Pool, open_pool, seal_pool, write
from xpaste_ray.records import SCORES, Candidate, Prompt, Proposal
from xpaste_ray.runs import RunDir
from xpaste_ray.unit_files import write_unit
from xpaste_ray.worker import prepare_worker

SIDE_PX = 512
UNITS, UNIT_SIZE = 32, 16
ROUNDS = 5
SAMPLES = 40
ENCODINGS = ("raw", "jpeg")
CASE = Case(640, 10, "alpha")
PIXEL_COLUMNS = ("image_png", "proposals.list.element.mask_png")


def candidates_files(run: RunDir, photos: list[np.ndarray], masks: list[np.ndarray]) -> pa.Table:
    """A run's unit files, and the rows of `SCORES` that keep all of their proposals."""
    categories, kept, number = lvis_categories(), [], count()
    for unit in range(UNITS):
        made = []
        for _ in range(UNIT_SIZE):
            n = next(number)
            category = categories[n % 64]
            name, photo, mask = f"{category.id}-{n}", photos[n % len(photos)], masks[n % len(masks)]
            area = float((mask > 128).mean())
            proposal = Proposal("exact", 0, mask, area_fraction=area, scores=(("clip_logit", 30.0),))
            prompt = Prompt(name, category.id, category.name, n, "photos", uri=name)
            made.append(Candidate(prompt, image=photo, proposals=(proposal,)))
            kept.append({"round": 0, "unit": unit, "candidate_id": name, "category_id": category.id,
                         "category": category.name, "index": n, "candidate_status": "ok", "source": "photos",
                         "transient": False, "method": "exact", "ordinal": 0, "status": "ok",
                         "area_fraction": area, "clip_logit": 30.0})  # fmt: skip
        write_unit(run, 0, unit, made, "benchmark", 1)
    return pa.Table.from_pylist(kept, schema=SCORES)


def shipped_outlines() -> list[np.ndarray]:
    """(S, S) uint8 each."""
    masks = []
    for path in sorted(OBJECTS_DIR.glob("*.webp"))[:64]:
        alpha = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., 3]
        masks.append(cv2.resize(alpha, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR))
    return masks


def seconds_to_seal(run: RunDir, kept: pa.Table, encoding: str, **shard_map: Any) -> float:
    shutil.rmtree(run.pools.path / encoding, ignore_errors=True)  # a pool's folder is new, as in a run
    began = time.perf_counter()
    settings = CutoutSettings(encoding=encoding)
    lost = seal_pool(
        kept, run.unit_file, lvis_categories(), settings, "f" * 16, run.pools / encoding, **shard_map
    )
    assert lost == []
    return time.perf_counter() - began


def floor_seconds(run: RunDir, encoding: str) -> float:
    """What no way to seal can do without."""
    pixels = b"\0" * sum((run.pools / encoding).files(".arrow").values())
    written = run.root.path / "floor.bin"
    written.unlink(missing_ok=True)
    began = time.perf_counter()
    for name in run.unit_sizes():
        file = run.unit_file(name)
        source = pq.ParquetFile(pa.memory_map(file.key), page_checksum_verification=True)
        table = source.read(columns=list(PIXEL_COLUMNS), use_threads=False)
        for image in table["image_png"].to_pylist():
            decode_png(image)
        for (proposal,) in table["proposals"].to_pylist():
            decode_png(proposal["mask_png"])
    written.write_bytes(pixels)
    return time.perf_counter() - began


def sealed_on_one_core(run: RunDir, kept: pa.Table) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Instances a second, and how many times the floor's time they took, of each round by encoding. All of
    this process' threads share the core."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(own)})
    try:
        rates: dict[str, list[float]] = {name: [] for name in ENCODINGS}
        to_floor: dict[str, list[float]] = {name: [] for name in ENCODINGS}
        for number in range(ROUNDS + 1):
            for name in ENCODINGS:
                seconds = seconds_to_seal(run, kept, name)
                floor = floor_seconds(run, name)
                if number:  # the first one warms up
                    rates[name].append(kept.num_rows / seconds)
                    to_floor[name].append(seconds / floor)
        return rates, to_floor
    finally:
        os.sched_setaffinity(0, own)


def seconds_on_ray(run: RunDir, kept: pa.Table, workers: int) -> float:
    """On so many cores, by processes that are up already."""
    import ray

    from xpaste_ray.pipelines.sealing import seal_on_ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        return [seconds_to_seal(run, kept, "raw", shard_map=seal_on_ray) for _ in range(2)][-1]
    finally:
        ray.shutdown()


def compose_ms(pools: dict[str, Pool], backgrounds: Backgrounds) -> dict[str, list[float]]:
    """Milliseconds a sample of each round, by encoding: plan, compose, annotate and encode."""
    found: dict[str, list[float]] = {name: [] for name in pools}
    encoding = ImageEncoding()
    for number in range(ROUNDS + 1):
        for name, pool in pools.items():
            compositor = Compositor(pool, backgrounds, settings_of(CASE), seed=0)
            began = time.perf_counter()
            for composed in compositor.render_all([compositor.plan(sample) for sample in range(SAMPLES)]):
                encode_image(composed.image, encoding)
            if number:
                found[name].append(1000 * (time.perf_counter() - began) / SAMPLES)
    return found


def main() -> None:
    prepare_worker()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run = RunDir(work / "run")
        photos = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
                  for path in sorted(photo_folder(work / "photos", SIDE_PX).iterdir())]  # fmt: skip
        kept = candidates_files(run, photos, shipped_outlines())
        rates, to_floor = sealed_on_one_core(run, kept)
        write.ROWS_PER_SHARD = kept.num_rows // 8
        faster = [seconds_on_ray(run, kept, 1) / seconds_on_ray(run, kept, 2) for _ in range(ROUNDS)]
        pools = {name: open_pool(run.pools / name) for name in ENCODINGS}
        source = resolve_source(photo_folder(work / "backgrounds", CASE.side_px))
        composed = compose_ms(pools, open_or_index(source, work / "cache"))
        encodings = [
            {
                "encoding": name,
                "bytes_per_instance": sum((run.pools / name).files(".arrow").values()) / len(pools[name]),
                "sealed_per_core_s": rates[name],
                "sealing_x_floor": to_floor[name],
                "compose_ms": composed[name],
            }
            for name in ENCODINGS
        ]
    raw, jpeg = encodings
    gates = [
        *(Gate(f"{name}: sealed per core-second", statistics.median(each), ">=", 200)
          for name, each in rates.items()),
        *(Gate(f"{name}: sealing, x floor", statistics.median(each), "<=", 2.5)
          for name, each in to_floor.items()),
        Gate("2 cores: x 1 core", statistics.median(faster), ">=", 1.7),
        Gate("jpeg: bytes x raw", jpeg["bytes_per_instance"] / raw["bytes_per_instance"], "<=", 0.2),
    ]  # fmt: skip
    finish("pool", gates, {"encodings": encodings, "case": CASE.name})


if __name__ == "__main__":
    main()
