"""Runs with any number of prompts, for stand-ins: a work list without a model."""

from pathlib import Path

from xpaste_ray.categories import lvis_categories
from xpaste_ray.config import PoolSettings, load
from xpaste_ray.pipelines.steps import Inputs
from xpaste_ray.pipelines.units import write_units
from xpaste_ray.prompts import Texts
from xpaste_ray.runs import RunDir
from xpaste_ray.sources.diffusion import GeneratedImages

UNIT_SIZE = 16
CATEGORIES = 1000  # of LVIS: a round is a thousand prompts, 62 units of 16 and one of 8


def stand_in_run(root: Path, prompts: int) -> RunDir:
    """A run with a work list of so many prompts (whole rounds), and nothing done of it."""
    run = RunDir(root)
    write_units(run, stand_in_inputs(prompts))
    return run


def stand_in_inputs(prompts: int) -> Inputs:
    rounds = -(-prompts // CATEGORIES)
    options = [f"sources.diffusion.unit_size={UNIT_SIZE}", f"prompts.per_category={rounds}"]
    settings = load(PoolSettings, "demo", options)
    texts = Texts(settings.prompts)
    source = GeneratedImages("diffusion", UNIT_SIZE, texts, settings.seed, {"model": "stand-in"})
    return Inputs(
        settings,
        tuple(lvis_categories()[:CATEGORIES]),
        sources={"diffusion": source},
        score=settings.score,
        score_model="stand-in",
        segment_models={},
        score_files={},
        embedding_dim=1,
    )
