"""F-EM of one large category: seconds and memory, from its file of features.

64,000 images of 50 segments with 512 numbers each, drawn: of every image one segment is of the category's
kind, the others of one of twenty other kinds, or of none. Step 1 is right for half of the images. What is
timed reads the file once for each iteration.

python benchmarks/em.py [--images 64000]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measuring import Gate, finish, peak_gib

from xpaste_ray.config.em import EmSettings
from xpaste_ray.foregrounds import refine
from xpaste_ray.pipelines.features import ROWS_PER_GROUP, FeatureFile, features_schema
from xpaste_ray.rng import rng_for
from xpaste_ray.runs import whole_parquet
from xpaste_ray.storage import locate

SEGMENTS, DIMENSIONS, KINDS = 50, 512, 21
SETTINGS = EmSettings(iterations=3)
_IMAGES_AT_ONCE = 1024
_FACTORS = 32  # directions in which what is of one kind differs
_APART = 0.15  # of what all vary by: so little that three iterations are needed


def make_features(path: Path, images: int) -> tuple[np.ndarray, np.ndarray]:
    """The file of one category. Returns for each image the row of the category's segment, and what step 1
    chose."""
    true, initial = [], []
    with whole_parquet(locate(path), features_schema(DIMENSIONS), "benchmark", dictionaries=False) as writer:
        for first in range(0, images, _IMAGES_AT_ONCE):
            count = min(_IMAGES_AT_ONCE, images - first)
            rng = rng_for(0, "benchmark segments", first)
            kinds = rng.integers(1, KINDS, (count, SEGMENTS))
            place = rng.integers(0, SEGMENTS, count)
            kinds[np.arange(count), place] = 0
            wrong = np.where(rng.random(count) < 0.5, place, rng.integers(0, SEGMENTS, count))
            starts = (first + np.arange(count)) * SEGMENTS
            true.append(starts + place)
            initial.append(starts + wrong)
            _write(writer, _features(rng, kinds.ravel()), first)
    return np.concatenate(true), np.concatenate(initial)


def _features(rng: np.random.Generator, kinds: np.ndarray) -> np.ndarray:
    """(n, D) float16. A kind has a mean and a few directions of its own."""
    of_kinds = rng_for(0, "benchmark kinds")
    means = _APART * of_kinds.standard_normal((KINDS, DIMENSIONS), np.float32)
    factors = _APART * of_kinds.standard_normal((KINDS, _FACTORS, DIMENSIONS), np.float32)
    found = rng.standard_normal((len(kinds), DIMENSIONS), np.float32)
    for kind in range(KINDS):
        rows = np.flatnonzero(kinds == kind)
        found[rows] += means[kind] + rng.standard_normal((len(rows), _FACTORS), np.float32) @ factors[kind]
    return found.astype(np.float16)


def _write(writer: Any, features: np.ndarray, first_image: int) -> None:
    """In the row groups that a run writes."""
    for start in range(0, len(features), ROWS_PER_GROUP):
        part = np.ascontiguousarray(features[start : start + ROWS_PER_GROUP])
        rows = first_image * SEGMENTS + start + np.arange(len(part))
        kind = pa.binary(2 * DIMENSIONS)
        column = pa.FixedSizeBinaryArray.from_buffers(kind, len(part), [None, pa.py_buffer(part)])
        head = [
            pa.array([f"1-{image}-benchmar" for image in rows // SEGMENTS]),
            pa.array(["sam"] * len(part)),
            pa.array(rows % SEGMENTS, pa.int32()),
        ]
        writer.write_table(pa.table([*head, column], schema=features_schema(DIMENSIONS)))


def measure(path: str, truth: str) -> None:
    """In a process of its own: prints what it took."""
    with np.load(truth) as told:
        true, initial = told["true"], told["initial"]
    began = time.perf_counter()
    features = FeatureFile(locate(path))
    image_of = np.repeat(np.arange(len(true)), SEGMENTS)
    refined = refine(features, image_of, initial, SETTINGS, ROWS_PER_GROUP)
    seconds = time.perf_counter() - began
    result = {
        "seconds": seconds,
        "peak_gib": peak_gib(),
        "right": [float((choice == true).mean()) for choice in refined.choices],
        "log": [[one.changed, one.log_determinant, one.mean_distance] for one in refined.log],
    }
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=64_000)
    parser.add_argument("--measure", nargs=2, metavar=("FEATURES", "TRUTH"))
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    with tempfile.TemporaryDirectory(prefix="xpaste-em-") as folder:
        features, truth = Path(folder) / "features.parquet", Path(folder) / "truth.npz"
        true, initial = make_features(features, arguments.images)
        np.savez(truth, true=true, initial=initial)
        command = [sys.executable, __file__, "--measure", str(features), str(truth)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured = json.loads(done.stdout)
    print(measured, flush=True)
    gates = [
        Gate("F-EM, 3 iterations, s", measured["seconds"], "<=", 300),
        Gate("F-EM, GiB", measured["peak_gib"], "<=", 2),
        Gate("iterations", len(measured["log"]), ">=", 3),
    ]
    details = {"images": arguments.images, "segments": SEGMENTS, "dimensions": DIMENSIONS}
    finish("em", gates, {**details, "measured": measured})


if __name__ == "__main__":
    main()
