"""A run and a dataset of 100,000 rows: made of columns, as making them by images would take an hour."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from xpaste_ray.categories import lvis_categories
from xpaste_ray.config import PoolSettings, load
from xpaste_ray.formats.contract import DatasetSpec, write_spec
from xpaste_ray.formats.images import ImageEncoding, encode_image, image_name
from xpaste_ray.formats.shards import write_fragment
from xpaste_ray.masks import encode_png, encode_rle
from xpaste_ray.pipelines.scores import compact_scores, read_scores
from xpaste_ray.pool import seal_pool
from xpaste_ray.records import UNITS, candidates_schema, unit_id
from xpaste_ray.runs import RunDir, write_json, write_parquet
from xpaste_ray.samples import Annotation, Sample
from xpaste_ray.selection import columns_of, select

ROWS, A_UNIT, A_SHARD, OBJECTS, SIDE = 100_000, 1000, 250, 8, 512
MOST_SECONDS, MOST_GIB, MOST_MB = 60, 2, 15


def make_run(root: Path, rows: int) -> None:
    """Candidates of all of LVIS's categories; logits around the bar, some images black, some masks empty."""
    run, rng = RunDir(root), np.random.default_rng(0)
    categories, dim = lvis_categories(), 512
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 6:26] = 255
    images = [encode_png(rng.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(16)]
    units = []
    for unit in range(rows // A_UNIT):
        told, made = [], []
        for index in range(unit * A_UNIT, (unit + 1) * A_UNIT):
            category = categories[index % len(categories)]
            prompt = {
                "candidate_id": f"{category.id}-{index}", "category_id": category.id,
                "category": category.name, "index": index, "source": "diffusion",
                "text": f"a photo of a {category.name}", "seed": index,
            }  # fmt: skip
            told.append(prompt)
            made.append(_candidate(prompt, unit, index, rng, images[index % 16], encode_png(mask), dim))
        units.append({"round": 0, "unit": unit, "source": "diffusion", "prompts": told})
        table = pa.Table.from_pylist(made, schema=candidates_schema(dim))
        write_parquet(run.unit_file(unit_id(0, unit)), table, "score", dictionaries=False)
    write_parquet(run.units, pa.Table.from_pylist(units, schema=UNITS), "source")
    _seal(run)


def _candidate(prompt, unit, index, rng, image, mask, dim):
    head = {
        **prompt, "round": 0, "unit": unit, "model": "m", "status": "ok", "degraded_shape": False,
        "transient": False, "height": 32, "width": 32, "image_png": image,
    }  # fmt: skip
    if index % 50 == 0:
        return head | {"status": "rejected", "reason": "black_image", "image_png": None, "proposals": []}
    proposal = {
        "method": "m", "ordinal": 0, "status": "ok", "area_fraction": 0.3, "mask_png": mask,
        "scores": [("clip_logit", rng.normal(24, 4))], "embedding": rng.normal(size=dim).astype(np.float16),
        "overlaps": [],
    }  # fmt: skip
    return head | {"proposals": [proposal]}


def _seal(run: RunDir) -> None:
    """In this process: a pool of several shards is sealed on Ray otherwise."""
    compact_scores(run, "scores")
    told = load(PoolSettings, "demo", ["select.min_clip_logit=21", "select.tolerance=1"])
    chosen = select(read_scores(run, columns_of(told.select)), told.select)
    folder = run.pools / "pool"
    assert seal_pool(chosen.kept, run.unit_file, lvis_categories(), told.cutout, "f" * 16, folder) == []
    write_parquet(run.rejects, chosen.rejects)
    write_json(run.pool_json, {"current": "pools/pool"})
    write_json(run.run_json, {"settings": told.model_dump(mode="json"), "counts": {}, "times": []})


def make_dataset(folder: Path, rows: int) -> None:
    """Eight objects an image, each with a mask of a few hundred letters."""
    rng, categories = np.random.default_rng(0), lvis_categories()
    y, x = np.mgrid[:SIDE, :SIDE]
    rle = encode_rle((y - 256) ** 2 + (x - 256) ** 2 < 60**2)
    spec = DatasetSpec(
        recipe="r", formats=("coco",), encoding=ImageEncoding(), categories=categories, count=rows,
        samples_per_shard=A_SHARD,
    )  # fmt: skip
    (folder / "images").mkdir(parents=True)
    first = folder / "images" / image_name(0, spec.encoding)
    first.write_bytes(encode_image(np.full((SIDE, SIDE, 3), 128, np.uint8), spec.encoding))
    for index in range(1, rows):
        (folder / "images" / image_name(index, spec.encoding)).symlink_to(first)
    for shard in spec.shards:
        samples = [_sample(index, rng, rle, len(categories)) for index in shard.indices]
        told = {"placed": OBJECTS * len(samples), "pasted_annotations": OBJECTS * len(samples)}
        write_fragment(folder, shard, spec.recipe, told, samples)
    write_spec(folder, spec)


def _sample(index, rng, rle, categories):
    lefts, tops = rng.integers(0, 380, (2, OBJECTS)).tolist()
    objects = [
        Annotation(
            category_id=(index * OBJECTS + k) % categories + 1, segmentation=rle,
            bbox=(lefts[k], tops[k], 120, 120), area=11300, iscrowd=0, origin="pool",
            source_id=f"{k}-0", visible_fraction=1.0, z_order=k + 1,
        )
        for k in range(OBJECTS)
    ]  # fmt: skip
    return Sample(
        index=index, height=SIDE, width=SIDE, background_id=f"b{index % 1000}", annotations=tuple(objects)
    )


# A process of its own asks: a child that is forked from this one begins with this one's memory.
_MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024**2)
"""


def report_of(place: Path) -> tuple[float, float, dict, float]:
    """Seconds, GiB, JSON, and MB of the page, of the command in a process of its own. The seconds are those
    of its cores: whatever else runs, they bound what it takes alone."""
    xpaste = Path(sys.executable).with_name("xpaste")
    command = [sys.executable, "-c", _MEASURED, xpaste, "report", place]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory = map(float, done.stdout.split())
    told = json.loads((place / "report.json").read_text())
    return seconds, memory, told, (place / "report.html").stat().st_size / 1e6


def figures(told: dict) -> dict[str, float]:
    (summary,) = [one for one in told["chapters"][0]["sections"] if one["key"] == "summary"]
    return {one["name"]: one["value"] for one in summary["blocks"][0]["figures"]}


@pytest.mark.faults
@pytest.mark.parametrize(("make", "counted"), [(make_run, "candidates"), (make_dataset, "images")])
def test_report_of_a_hundred_thousand_counts_all_of_them_within_a_minute(tmp_path, make, counted):
    make(tmp_path / "many", ROWS)
    seconds, memory, told, size = report_of(tmp_path / "many")
    print(f"{make.__name__}: {seconds:.1f} s, {memory:.2f} GiB, {size:.1f} MB")
    assert figures(told)[counted] == ROWS
    assert seconds < MOST_SECONDS and memory < MOST_GIB and size < MOST_MB


def test_report_of_many_is_that_of_a_few_thousand(tmp_path):
    """The same material, small enough for every day: 2,000 candidates of which 40 are black."""
    make_run(tmp_path / "many", 2000)
    _, _, told, _ = report_of(tmp_path / "many")
    assert figures(told)["candidates"] == 2000
    (funnel,) = [one for one in told["chapters"][0]["sections"] if one["key"] == "funnel"]
    assert funnel["blocks"][0]["rows"][1][:3] == ["images", 40, 1960]
