"""Runs and pools of EM-Paste's kind: a candidate is one image and one of its categories."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import CATEGORIES, disc
from tests.selection.tables import rule
from xpaste_ray.categories import Category
from xpaste_ray.config import CutoutSettings
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pipelines.scores import compact_scores
from xpaste_ray.pool import Pool, open_pool, seal_pool
from xpaste_ray.records import UNITS, Candidate, Prompt, Proposal, Unit, unit_to_row
from xpaste_ray.runs import RunDir, write_parquet
from xpaste_ray.selection import select
from xpaste_ray.unit_files import write_unit

ANYTHING = rule(min_clip_logit=0, min_area_fraction=0, max_area_fraction=1)

Shows = Mapping[str, Sequence[str]]
"""Names of categories by the name of an image."""


def pair(image: str, category: Category, place: int) -> Candidate:
    """A disc of 16 px at one of three places of a picture of 72 x 24 px whose shade follows from its name."""
    prompt = Prompt(f"{category.id}-{image}", category.id, category.name, 0, "images", uri=f"{image}.jpg")
    shade = sum(image.encode()) % 200
    rgb = np.full((24, 72, 3), shade, np.uint8)
    mask = np.zeros((24, 72), np.uint8)
    mask[:, 24 * place : 24 * place + 24] = disc(24, 8) * np.uint8(255)
    rgb[mask > 0] = (category.id % 256, shade, 90)
    scores = (("clip_logit", 30.0), ("class_score", 0.9))
    proposal = Proposal(
        "slic", 0, mask, area_fraction=float((mask > 0).mean()), scores=scores, embedding=np.zeros(4, "f2")
    )
    return Candidate(
        prompt, image=rgb, content_hash=hash_bytes(image.encode()), model="", proposals=(proposal,)
    )


def units_of(shows: Shows) -> list[tuple[Unit, list[Candidate]]]:
    """A unit holds all pairs of one image."""
    by_name = {category.name: category for category in CATEGORIES}
    made = []
    for number, (image, names) in enumerate(shows.items()):
        candidates = [pair(image, by_name[name], place) for place, name in enumerate(names)]
        made.append((Unit(0, number, tuple(one.prompt for one in candidates)), candidates))
    return made


def write_pairs(run: RunDir, shows: Shows, order: Sequence[int] | None = None) -> pa.Table:
    """A run whose units are done in some order; its score table."""
    units = units_of(shows)
    rows = [unit_to_row(unit) for unit, _ in units]
    write_parquet(run.units, pa.Table.from_pylist(rows, schema=UNITS))
    for number in range(len(units)) if order is None else order:
        unit, candidates = units[number]
        write_unit(run, unit.round, unit.number, candidates, "recipe", 4)
    compact_scores(run, "recipe")
    return pq.read_table(str(run.scores))


def seal_pairs(root, shows: Shows) -> Pool:
    run = RunDir(root)
    kept = select(write_pairs(run, shows), ANYTHING).kept
    folder = run.pools / "pool"
    assert seal_pool(kept, run.unit_file, CATEGORIES, CutoutSettings(), "f" * 16, folder) == []
    return open_pool(folder)
