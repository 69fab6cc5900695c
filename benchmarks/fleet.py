"""The pool pipeline on logical GPUs: how busy it keeps cards that a stand-in for a model takes in turn.

A stand-in holds the lock of its card while it sleeps the model's time, and notes from when to when; what
is between the notes is the pipeline's own doing.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_runs import UNIT_SIZE, stand_in_run

from tests import standins
from xpaste_ray.config import ResourceSettings, StageResources
from xpaste_ray.pipelines.resources import MODEL_STAGES, Cost, Plan, plan_resources
from xpaste_ray.pipelines.unit_work import run_units
from xpaste_ray.pipelines.units import OpenPrompts
from xpaste_ray.runs import RunDir

SIDE_PX = 512
SOURCE_IMAGES_PER_S = 4.2  # Stable Diffusion 1.5, 50 steps at 512 px, on an H200
TFLOP = {"source": 83.0, "segment": 6.0, "score": 0.16}  # an image: SD 1.5, SAM ViT-H, CLIP ViT-L/14
SECONDS = {stage: tflop / TFLOP["source"] / SOURCE_IMAGES_PER_S for stage, tflop in TFLOP.items()}
COSTS = {stage: Cost(cpu_s=100 * seconds, gpu_s=seconds) for stage, seconds in SECONDS.items()}
AUTO = ResourceSettings.model_validate(dict.fromkeys(MODEL_STAGES, "auto") | {"compose": {"actors": 1}})

_OBJECT_STORE_BYTES = 2 * 1024**3
_CPUS_A_GPU = 2


@dataclass(frozen=True, slots=True)
class Nap:
    """A stand-in's work on one unit. began, ended: seconds of the machine's clock."""

    actor: str
    stage: str
    began: float
    ended: float
    images: int


Naps = dict[str, list[Nap]]
"""By card, in the order of their beginnings."""


PLANS_BY_HAND: dict[str, Plan] = {
    name: dict(zip(MODEL_STAGES, (StageResources(actors=n, gpus=share) for n, share in shares), strict=True))
    for name, shares in {
        "3 for generation, 1 for the rest": ((3, 1.0), (1, 0.5), (1, 0.5)),
        "4 shared, half for generation": ((4, 0.5), (4, 0.25), (4, 0.25)),
        "4 shared, one score": ((4, 0.75), (3, 0.25), (1, 0.25)),
    }.items()
}
"""Of four cards: what a person may set."""


def measure(root: Path, gpus: int, units: int, plan: Plan | None = None) -> dict[str, Any]:
    """The first units of a work list on so many cards of one machine. No plan: as `auto` sizes it."""
    run = stand_in_run(root, units * UNIT_SIZE)
    plan, naps = run_fleet(run, gpus, units, plan)
    return report(plan, naps)


def run_fleet(run: RunDir, gpus: int, units: int, plan: Plan | None) -> tuple[Plan, Naps]:
    """Returns the plan, and what the cards did. RuntimeError if a unit has no file at the end."""
    import ray

    from xpaste_ray.pipelines.ray_profile import cluster_nodes, configure_data

    notes = run.root.path / "notes"
    notes.mkdir()
    stand_in = {stage: {"seconds": SECONDS[stage], "gpu": standins.Gpu(notes)} for stage in MODEL_STAGES}
    stand_in["source"] |= {"side_px": SIDE_PX}
    ray.init(
        address="local", num_gpus=gpus, num_cpus=4 + _CPUS_A_GPU * gpus, include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES, log_to_driver=False,
    )  # fmt: skip
    try:
        configure_data()
        plan = plan or plan_resources(AUTO, COSTS, cluster_nodes())
        opener = OpenPrompts(run)
        run_units(run, range(units), plan, standins.code(**stand_in), opener, "benchmark", 1)
    finally:
        ray.shutdown()
    if len(run.unit_sizes()) != units:
        raise RuntimeError(f"{len(run.unit_sizes())} of {units} units have files")
    return plan, read_naps(notes)


def read_naps(notes: Path) -> Naps:
    naps: defaultdict[str, list[Nap]] = defaultdict(list)
    for path in notes.glob("*.txt"):
        card, _, actor = path.stem.rpartition(".")
        for line in path.read_text().splitlines():
            stage, began, ended, images = line.split()
            naps[card].append(Nap(actor, stage, float(began), float(ended), int(images)))
    return {card: sorted(found, key=lambda nap: nap.began) for card, found in sorted(naps.items())}


def source_units(naps: Sequence[Nap]) -> list[Nap]:
    return [nap for nap in naps if nap.stage == "source"]


def actors_of(naps: Sequence[Nap]) -> dict[str, int]:
    """How many actors of each stage were on a card."""
    return dict(Counter(stage for stage, _ in {(nap.stage, nap.actor) for nap in naps}))


def steady_window(naps: Sequence[Nap]) -> tuple[float, float] | None:
    """From the card's second generated unit to the end of its last one. None: it generates none."""
    units = source_units(naps)
    return (units[1].began, units[-1].ended) if len(units) > 1 else None


def busy_share(naps: Sequence[Nap], window: tuple[float, float]) -> float:
    """Share of the window in which the card was taken. Naps on one card never overlap: it has one lock."""
    first, last = window
    inside = (min(nap.ended, last) - max(nap.began, first) for nap in naps)
    return sum(seconds for seconds in inside if seconds > 0) / (last - first)


def images_per_s(naps: Naps) -> float:
    """Generated images a second, over each card's steady window."""
    rate = 0.0
    for of_card in naps.values():
        if window := steady_window(of_card):
            rate += sum(nap.images for nap in source_units(of_card)[1:]) / (window[1] - window[0])
    return rate


def whole_images_per_s(naps: Naps) -> float:
    """Generated images a second of all cards, from the first nap's beginning to the last one's end."""
    every = [nap for of_card in naps.values() for nap in of_card]
    seconds = max(nap.ended for nap in every) - min(nap.began for nap in every)
    return sum(nap.images for nap in source_units(every)) / seconds


def report(plan: Plan, naps: Naps) -> dict[str, Any]:
    """What a run on the fleet showed, for the result file."""
    began = [of_card[0].began for of_card in naps.values()]
    return {
        "gpus": len(naps),
        "plan": {stage: wanted.model_dump(exclude_defaults=True) for stage, wanted in plan.items()},
        "actors_a_gpu": [actors_of(of_card) for of_card in naps.values()],
        "units_a_gpu": [len(source_units(of_card)) for of_card in naps.values()],
        "all_busy_after_s": max(began) - min(began),
        "busy": [
            busy_share(of_card, window) for of_card in naps.values() if (window := steady_window(of_card))
        ],
        "images_per_s": images_per_s(naps),
        "whole_images_per_s": whole_images_per_s(naps),
    }
