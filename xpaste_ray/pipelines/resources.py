"""Which actors a run gets: as its settings say, or sized from what the cluster has.

Never part of a recipe: it decides how wide a run goes, and no byte of what it makes.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xpaste_ray.config import ResourceSettings, Settings, StageResources
from xpaste_ray.errors import ConfigError

MODEL_STAGES = ("source", "segment", "score")

TASK_CPUS = 0.25  # what reads, splits and writes between the pools
SPARE_CPUS = 2.0  # for those tasks: when logical CPUs run out, Ray waits in silence

# Cost of one image. TFLOP: X-Paste's models. Seconds on one core, measured with the shipped ones.
_UNET_TFLOP, _VAE_TFLOP = 0.8033, 2.514  # Stable Diffusion 1.5 at 512 px: one forward, one decode
_USUAL_STEPS = 50
_CLIP_TFLOP = 0.16  # ViT-L/14
_GPU_TFLOPS = 300.0  # that a large card does of these in a second
_CPU_TFLOPS = 0.05  # that one core does
_EMBEDDED_STEP_S, _EMBEDDED_CLIP_S = 0.011, 0.012
_GRABCUT_S = {True: 0.011, False: 0.7}  # at the embedded model's 64 px, and at 512


@dataclass(frozen=True, slots=True)
class Node:
    """What a machine of the cluster has, as Ray reports it."""

    cpus: float
    gpus: float = 0.0
    accelerator_type: str | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one image in one stage, on a core and, if it can use one, on a GPU."""

    cpu_s: float
    gpu_s: float | None = None


Plan = dict[str, StageResources]
"""The actors of each model stage."""


def cpus_booked(resources: ResourceSettings) -> float:
    """CPUs that the actors of a run book at one time, on this machine: all cores where it says `auto`."""
    stages = [getattr(resources, stage) for stage in MODEL_STAGES]
    fixed = sum(stage.actors * stage.cpus for stage in stages if stage != "auto")
    cores = len(os.sched_getaffinity(0)) if "auto" in stages else 0.0
    return max(fixed + cores, compose_resources(resources.compose.actors).cpus * resources.compose.actors)


def compose_resources(actors: int) -> StageResources:
    return StageResources(actors=actors)


def stage_costs(settings: Settings) -> dict[str, Cost]:
    """What an image costs in each model stage. Rough is enough: ratios matter."""
    source, embedded = settings.source, settings.source.model == "embedded:diffusion"
    steps = source.steps or _USUAL_STEPS
    generation = steps * 2 * _UNET_TFLOP + _VAE_TFLOP
    score = settings.score.model
    return {
        "source": Cost(steps * _EMBEDDED_STEP_S) if embedded else _model_cost(generation),
        "segment": Cost(_GRABCUT_S[embedded]),
        "score": Cost(_EMBEDDED_CLIP_S) if score == "embedded:clip" else _model_cost(_CLIP_TFLOP),
    }


def _model_cost(tflop: float) -> Cost:
    return Cost(tflop / _CPU_TFLOPS, tflop / _GPU_TFLOPS)


def plan_resources(
    settings: ResourceSettings, costs: Mapping[str, Cost], nodes: Sequence[Node], sequential: bool = False
) -> Plan:
    """The actors of each stage: as set, or sized from `nodes` where it says `auto`.

    ConfigError if the cluster can never hold them. Sequential: the stages run one after the other, each
    with the whole cluster for itself.
    """
    plan: Plan = {}
    groups = [(stage,) for stage in MODEL_STAGES] if sequential else [MODEL_STAGES]
    for group in groups:
        told = {stage: getattr(settings, stage) for stage in group}
        fixed = {stage: value for stage, value in told.items() if value != "auto"}
        sized = fixed | _size(fixed, {stage: costs[stage] for stage in group if stage not in fixed}, nodes)
        check_fits(sized, nodes)
        plan |= sized
    return {stage: plan[stage] for stage in MODEL_STAGES}


def _size(fixed: Plan, costs: Mapping[str, Cost], nodes: Sequence[Node]) -> Plan:
    """Actors for the stages of `costs` in what the fixed ones leave."""
    gpus = int(sum(math.floor(node.gpus) for node in nodes) - _total(fixed, "gpus"))
    cpus = sum(node.cpus for node in nodes) - _total(fixed, "cpus") - SPARE_CPUS
    on_gpu = [stage for stage, cost in costs.items() if cost.gpu_s is not None and gpus >= 1]
    plan = _share_gpus({stage: costs[stage].gpu_s or 0.0 for stage in on_gpu}, gpus)
    rest = {stage: cost.cpu_s for stage, cost in costs.items() if stage not in on_gpu}
    per_gpu = sum(costs[stage].gpu_s or 0.0 for stage in on_gpu)
    rate = gpus / per_gpu if on_gpu else math.inf  # images a second: more than the GPUs make is idle
    return plan | _share_cpus(rest, cpus - _total(plan, "cpus"), rate)


def _total(plan: Plan, resource: str) -> float:
    return sum(stage.actors * float(getattr(stage, resource)) for stage in plan.values())


def _share_gpus(seconds: Mapping[str, float], gpus: int) -> Plan:
    """One actor of every stage on every GPU.

    The stages take a card in turn, so all cards are equally busy whatever their costs; the costliest one
    books more than half of a card, else Ray would put two of it on one.
    """
    if not seconds:
        return {}
    main = max(seconds, key=lambda stage: seconds[stage])
    others = len(seconds) - 1
    most, least = {0: (1.0, 0.0), 1: (0.75, 0.25), 2: (0.75, 0.125)}[others]
    return {stage: StageResources(actors=gpus, gpus=most if stage == main else least) for stage in seconds}


def _share_cpus(seconds: Mapping[str, float], cores: float, rate: float) -> Plan:
    """Cores in the proportion of the stages' costs, at least one each, and no more than `rate` needs."""
    total = sum(seconds.values())
    plan = {}
    for stage, cost in seconds.items():
        share = max(1, round(cores * cost / total))
        needed = share if rate == math.inf else max(1, math.ceil(rate * cost))
        plan[stage] = StageResources(actors=min(share, needed))
    return plan


def check_fits(plan: Plan, nodes: Sequence[Node]) -> None:
    """ConfigError if these actors cannot all run at once on these nodes: Ray would wait for ever."""
    cpus = sum(node.cpus for node in nodes)
    needed = _total(plan, "cpus") + SPARE_CPUS
    if needed > cpus:
        raise ConfigError(
            f"resources: the actors need {needed:g} CPUs ({SPARE_CPUS:g} of them for tasks) and the cluster "
            f"has {cpus:g}: lower resources.*.actors or .cpus, or add nodes"
        )
    free = [[min(1.0, node.gpus - i) for i in range(math.ceil(node.gpus))] for node in nodes]
    by_share = sorted(plan.items(), key=lambda item: -item[1].gpus)
    for stage, wanted in by_share:
        for number in range(wanted.actors if wanted.gpus else 0):
            if not any(
                _take(cards, wanted.gpus)
                for node, cards in zip(nodes, free, strict=True)
                if wanted.accelerator_type in (None, node.accelerator_type)
            ):
                raise ConfigError(_too_few_gpus(stage, wanted, number, nodes))
    for stage, wanted in plan.items():
        types = {node.accelerator_type for node in nodes}
        if wanted.accelerator_type and wanted.accelerator_type not in types:
            raise ConfigError(_too_few_gpus(stage, wanted, 0, nodes))


def _take(cards: list[float], gpus: float) -> bool:
    """Book a share of one card, the fullest that has room, or whole ones."""
    if gpus < 1:
        room = [card for card in cards if card >= gpus]
        if not room:
            return False
        card = cards.index(min(room))
        cards[card] -= gpus
        return True
    whole = [i for i, card in enumerate(cards) if card == 1.0]
    if len(whole) < gpus:
        return False
    for i in whole[: int(gpus)]:
        cards[i] = 0.0
    return True


def _too_few_gpus(stage: str, wanted: StageResources, placed: int, nodes: Sequence[Node]) -> str:
    there = ", ".join(f"{node.gpus:g} {node.accelerator_type or 'GPU'}" for node in nodes if node.gpus)
    kind = f" of type {wanted.accelerator_type}" if wanted.accelerator_type else ""
    return (
        f"resources.{stage}: {wanted.actors} actors with {wanted.gpus:g} GPUs{kind} each cannot run at once: "
        f"only {placed} find room beside the other stages; the nodes that are up have "
        f"{there or 'no GPUs'}. Lower resources.{stage}.actors or .gpus, set it to auto, or start more nodes "
        "first"
    )


def describe(plan: Plan, units: int, sequential: bool) -> str:
    """The plan, for people."""
    how = "one stage after the other" if sequential else "all stages at once"
    width = max(map(len, plan))
    lines = [
        f"  {stage:{width}}  {wanted.actors} actor{'s' if wanted.actors > 1 else ''}"
        f", each {f'{wanted.gpus:g} GPU and ' if wanted.gpus else ''}{wanted.cpus:g} CPU"
        f"{f' ({wanted.accelerator_type})' if wanted.accelerator_type else ''}"
        for stage, wanted in plan.items()
    ]
    return "\n".join([f"plan: {units} units, {how}", *lines])
