"""Selection of a million candidates with four proposals each: seconds and memory, from the files of a run.

What is timed reads the score table, decides every proposal, and writes the rejects; near-duplicates need the
embeddings of what passes, too, which lie in 50,000 unit files. Scores and embeddings are drawn.

python benchmarks/selection.py [--candidates 1000000]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from measuring import Gate, finish, peak_gib

from xpaste_ray.categories import lvis_categories
from xpaste_ray.config import SelectSettings
from xpaste_ray.pipelines.scores import read_scores, stored_embeddings
from xpaste_ray.records import SCORES, unit_id
from xpaste_ray.rng import rng_for
from xpaste_ray.runs import RunDir, whole_parquet, write_parquet
from xpaste_ray.selection import columns_of, select, sweep

CATEGORIES, UNIT_SIZE, DIMENSIONS = 1000, 20, 512
METHODS = ("clipseg", "grabcut", "sam", "u2net")
_UNITS_PER_GROUP = 256  # as a run writes its score table
_COPIED = 10  # one round in so many shows what the round before showed

BAR = SelectSettings(min_clip_logit=21, tolerance=1, min_area_fraction=0.05, max_area_fraction=0.95)
RULES = {
    "bar": BAR,
    "many": BAR.model_copy(update={"proposals": "many"}),
    "distinct": BAR.model_copy(update={"max_duplicate_cosine": 0.95}),
}
BARS = [19 + place / 2 for place in range(19)]


def make_scores(run: RunDir, candidates: int) -> None:
    """The score table, index-major as a run makes it; the source rejected a tenth of the candidates."""
    names = np.array([category.name for category in lvis_categories()[:CATEGORIES]])
    per_group = _UNITS_PER_GROUP * UNIT_SIZE
    with whole_parquet(run.scores, SCORES, "benchmark") as writer:
        for first in range(0, candidates, per_group):
            writer.write_table(_scores(np.arange(first, min(first + per_group, candidates)), names))


def _scores(numbers: np.ndarray, names: np.ndarray) -> pa.Table:
    """Rows of `SCORES` for those candidates. The best of four is at 24.6, as X-Paste has it."""
    rng = rng_for(0, "benchmark scores", int(numbers[0]))
    rejected = numbers % 10 == 9
    sizes = np.where(rejected, 1, len(METHODS))
    parents = np.repeat(numbers, sizes)
    without = np.repeat(rejected, sizes)
    place = np.arange(len(parents)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    category, index = parents % CATEGORIES, parents // CATEGORIES
    count = len(parents)

    def of_proposals(values: Any, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=without)

    columns = {
        "round": index,
        "unit": category // UNIT_SIZE,
        "candidate_id": [f"{c}-{i}-benchmar" for c, i in zip(category, index, strict=True)],
        "category_id": category,
        "category": names[category],
        "index": index,
        "candidate_status": np.where(without, "rejected", "ok"),
        "candidate_reason": pa.array(np.full(count, "black_image"), mask=~without),
        "source": np.where(index % 2, "diffusion", "web"),
        "transient": np.zeros(count, bool),
        "method": of_proposals(np.array(METHODS)[place], pa.string()),
        "ordinal": of_proposals(np.zeros(count, np.int32), pa.int32()),
        "status": of_proposals(np.full(count, "ok"), pa.string()),
        "reason": pa.nulls(count, pa.string()),
        "area_fraction": of_proposals(rng.uniform(0, 1, count).astype(np.float32), pa.float32()),
        "clip_logit": of_proposals(rng.normal(21.5, 3, count).astype(np.float32), pa.float32()),
        "overlaps": _overlaps(rng, place, without),
    }
    absent = {field.name: pa.nulls(count, field.type) for field in SCORES if field.name not in columns}
    return pa.table({**columns, **absent}).select(SCORES.names).cast(SCORES)


def _overlaps(rng: np.random.Generator, place: np.ndarray, without: np.ndarray) -> pa.ListArray:
    """Every proposal with the three others of its candidate."""
    lengths = np.where(without, 0, len(METHODS) - 1)
    own = np.repeat(place, lengths)
    others = np.arange(len(own)) % (len(METHODS) - 1)
    kind = SCORES.field("overlaps").type
    told = pa.StructArray.from_arrays(
        [
            pa.array(others + (others >= own), pa.int32()),
            pa.array(rng.uniform(0, 1, len(own)).astype(np.float32)),
            pa.array(rng.uniform(0, 1, len(own)).astype(np.float32)),
        ],
        fields=list(kind.value_type),
    )
    return pa.ListArray.from_arrays(pa.array(np.r_[0, np.cumsum(lengths)], pa.int32()), told, type=kind)


def make_units(run: RunDir, candidates: int) -> None:
    """The unit files, with the embeddings only."""
    per_round = CATEGORIES // UNIT_SIZE
    units = [divmod(number, per_round) for number in range(candidates // UNIT_SIZE)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in pool.map(partial(_make_unit, run), units, chunksize=500):
            pass


def _make_unit(run: RunDir, unit: tuple[int, int]) -> None:
    vectors = _vectors(*unit).reshape(-1, DIMENSIONS)
    kind = pa.struct([("method", pa.string()), ("embedding", pa.list_(pa.float16(), DIMENSIONS))])
    proposals = pa.StructArray.from_arrays(
        [
            pa.array(METHODS * (len(vectors) // len(METHODS))),
            pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSIONS),
        ],
        fields=list(kind),
    )
    rejected = (np.arange(UNIT_SIZE) + unit[1] * UNIT_SIZE) % 10 == 9
    sizes = np.where(rejected, 0, len(METHODS))
    column = pa.ListArray.from_arrays(np.r_[0, np.cumsum(sizes)].astype(np.int32), proposals)
    path = run.unit_file(unit_id(*unit)).path
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"proposals": column})  # written as `write_parquet` does, which would wait for the disk
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def _vectors(round_number: int, number: int) -> np.ndarray:
    """(candidates that are not rejected, methods, DIMENSIONS) float16. Two of one category have a cosine of
    about 0.5, but for those of a copied round, which are nearer than 0.99 to those of the round before."""
    is_copy = round_number % _COPIED == 1
    rng = rng_for(0, "benchmark embeddings", round_number - is_copy, number)
    shape = (UNIT_SIZE - UNIT_SIZE // 10, len(METHODS), DIMENSIONS)
    drawn = rng.standard_normal(shape, np.float32)
    if is_copy:
        drawn += 0.05 * rng.standard_normal(shape, np.float32)
    centres = rng_for(0, "benchmark centres", number).standard_normal((shape[0], 1, DIMENSIONS), np.float32)
    return (drawn + centres).astype(np.float16)


def measure(root: str, case: str) -> None:
    """In a process of its own: prints what it took."""
    run, rule = RunDir(root), RULES.get(case, BAR)
    began = time.perf_counter()
    scores = read_scores(run, (*columns_of(rule), "source") if case == "sweep" else columns_of(rule))
    read_s = time.perf_counter() - began
    told: dict[str, Any]
    if case == "sweep":
        told = {"kept": [sum(kept) for kept in zip(*sweep(scores, rule, BARS).kept.values(), strict=True)]}
    else:
        with stored_embeddings(run, scores) as embeddings:
            selection = select(scores, rule, 0, embeddings)
        del scores
        write_parquet(run.root / f"rejects-{case}.parquet", selection.rejects)
        of_candidates = pc.equal(selection.rejects["kind"], "candidate")
        reasons = selection.rejects.filter(of_candidates)["reason"].value_counts().to_pylist()
        told = {
            "candidates": selection.candidates,
            "proposals": selection.proposals,
            "kept": selection.kept.num_rows,
            "rejected_candidates": {one["values"]: one["counts"] for one in reasons},
        }
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "read_s": read_s, "peak_gib": peak_gib(), **told}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--measure", nargs=2, metavar=("RUN", "CASE"))
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    with tempfile.TemporaryDirectory(prefix="xpaste-select-") as folder:
        run = RunDir(folder)
        make_scores(run, arguments.candidates)
        make_units(run, arguments.candidates)
        cases = {case: _in_a_process(folder, case) for case in (*RULES, "sweep")}
    finish("selection", list(_gates(cases)), {"candidates": arguments.candidates, "measured": cases})


def _in_a_process(folder: str, case: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--measure", folder, case]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    print(case, result, flush=True)
    return result


def _gates(cases: dict[str, dict[str, Any]]) -> Iterator[Gate]:
    named = {"bar": "select", "many": "select, many of an image", "distinct": "select without duplicates"}
    for case, name in named.items():
        yield Gate(f"{name}, s", cases[case]["seconds"], "<=", 180 if case == "distinct" else 20)
        yield Gate(f"{name}, GiB", cases[case]["peak_gib"], "<=", 2)
    yield Gate("sweep of 19 bars, s", cases["sweep"]["seconds"], "<=", 20)


if __name__ == "__main__":
    main()
