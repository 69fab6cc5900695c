"""Runs whose images are segmented and classified, written by hand: neither a model nor Ray."""

import numpy as np
import pyarrow as pa

from tests.conftest import CATEGORIES, prompt
from xpaste_ray.pipelines.scores import compact_scores
from xpaste_ray.records import UNITS, Candidate, Proposal, Unit, unit_to_row
from xpaste_ray.rng import rng_for
from xpaste_ray.runs import RunDir, write_parquet
from xpaste_ray.unit_files import write_unit

WIDTH = 6
UNIT_SIZE = 4


def proposal(ordinal, cam, score, feature, mask=None, **more):
    """feature: a vector, or None."""
    scores = [("cam_distance", cam), ("class_score", score)]
    vector = None if feature is None else np.asarray(feature, np.float16)
    told = tuple((name, value) for name, value in scores if value is not None)
    return Proposal("sam", ordinal, mask, area_fraction=0.1, scores=told, embedding=vector, **more)


def make_run(root, candidates, recipe="classified", width=WIDTH):
    """Units of four candidates, and the score table."""
    run = RunDir(root)
    rows = []
    for number in range(0, len(candidates), UNIT_SIZE):
        some = candidates[number : number + UNIT_SIZE]
        unit = Unit(0, number // UNIT_SIZE, tuple(one.prompt for one in some))
        rows.append(unit_to_row(unit))
        write_unit(run, 0, unit.number, some, recipe, width)
    write_parquet(run.units, pa.Table.from_pylist(rows, schema=UNITS))
    compact_scores(run, recipe)
    return run


def planted(images=12, segments=5, wrong=0.3):
    """Candidates, three categories in turn: segment 2 of each, whose ordinal is 3, is of its category, and
    step 1 is wrong in some. Every third image also has a rejected proposal before the others, and the last
    has none."""
    rng = rng_for(0, "planted run")
    means = 4 * rng.standard_normal((len(CATEGORIES), WIDTH))
    made = []
    for image in range(images):
        for number, category in enumerate(CATEGORIES):
            first = [proposal(0, 0.0, 0.99, None, status="rejected", reason="area_too_small")]
            liked = int(rng.integers(segments)) if rng.random() < wrong else 2
            proposals = [] if image % 3 else first
            for place in range(segments):
                centre = means[number] if place == 2 else 4 * rng.standard_normal(WIDTH)
                feature = centre + 0.3 * rng.standard_normal(WIDTH)
                proposals.append(proposal(place + 1, 0.1, 0.9 if place == liked else 0.5, feature))
            made.append(Candidate(prompt(category, image), proposals=tuple(proposals)))
    lost = Candidate(prompt(CATEGORIES[0], images), status="rejected", reason="unreadable")
    return [*made, lost]
