"""Which actors a run gets: as its settings say, or sized from what the cluster has.

Never part of a recipe: it decides how wide a run goes, and no byte of what it makes.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from xpaste_ray.config import (
    AnySource,
    DiffusionSource,
    Foregrounds,
    PoolSettings,
    ResNetClassifier,
    ResourceSettings,
    StageResources,
    TrainedClassifier,
)
from xpaste_ray.config.segment import (
    AnyMethod,
    ClipSegMethod,
    FelzenszwalbMethod,
    FullMethod,
    GrabCutMethod,
    Mask2FormerMethod,
    MaskRcnnMethod,
    MasksMethod,
    SaliencyMethod,
    SamMethod,
    SlicMethod,
)
from xpaste_ray.errors import ConfigError

MODEL_STAGES = ("source", "segment", "score")

TASK_CPUS = 0.25  # what reads, splits and writes between the pools
SPARE_CPUS = 2.0  # for those tasks: when logical CPUs run out, Ray waits in silence

# Cost of one image. TFLOP: X-Paste's models. Seconds on one core, measured with the shipped ones.
_UNET_TFLOP, _VAE_TFLOP = 0.8033, 2.514  # Stable Diffusion 1.5 at 512 px: one forward, one decode
_FEWEST_STEPS = 1  # where the model's own files say how many; a Turbo model's
_CLIP_TFLOP = 0.16  # ViT-L/14
_GPU_TFLOPS = 300.0  # that a large card does of these in a second
_CPU_TFLOPS = 0.05  # that one core does
_EMBEDDED_STEP_S, _EMBEDDED_CLIP_S = 0.011, 0.012
_READ_S = 0.03  # decode a photograph, and reduce it
_GRABCUT_S = {True: 0.011, False: 0.7}  # at the embedded model's 64 px, and at 512
_FULL_S = 0.001
_SLIC_S, _FELZENSZWALB_S = 0.12, 0.18  # a scale, at 256 px
_MASK_FILE_S = 0.05  # read, and a hundred masks scaled
_SAM_TFLOP, _SAM_PROMPT_TFLOP = 0.972, 0.0036  # ViT-B: the encoder, and one prompt in the decoder
_CLIPSEG_TFLOP, _MATTING_S = 0.1, 3.0  # ViT-B/16 at 352 px; the closed form at 512 px, always on a core
_MASK_RCNN_TFLOP, _MASK2FORMER_TFLOP = 0.27, 0.6  # ResNet-50 with FPN; Swin-S
_BLIP_TFLOP = 0.15  # ViT-B/16 at 384 px, and two captions of 20 words
_RESNET_TFLOP = {"resnet18": 0.0036, "resnet34": 0.0073, "resnet50": 0.0082, "resnet101": 0.0157}  # at 224 px
_SEGMENTS, _SEGMENT_PICTURE_S = 50, 0.0005  # of an image; to cut one out, always on a core
_SALIENCY_TFLOP = 0.075  # U2-Net at 320 px, always on a core


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


def cpus_booked(resources: ResourceSettings, reads: bool = False) -> float:
    """CPUs that the actors of a run book at one time, on this machine: all cores where it says `auto`. reads:
    whether a source of it reads or fetches images."""
    after = [resources.segment, resources.score]
    passes = [[resources.source, *after], [compose_resources(resources.compose.actors)]]
    if reads:
        passes.append([fetch_resources(resources), *after])
    return max(map(_booked, passes))


def _booked(stages: Sequence[StageResources | Literal["auto"]]) -> float:
    fixed = sum(stage.actors * stage.cpus for stage in stages if stage != "auto")
    return fixed + (len(os.sched_getaffinity(0)) if "auto" in stages else 0.0)


def compose_resources(actors: int) -> StageResources:
    return StageResources(actors=actors)


def fetch_resources(resources: ResourceSettings) -> StageResources:
    """Of the source stage, where it reads or fetches images."""
    return StageResources(actors=resources.fetch.actors)


def train_resources(resources: ResourceSettings, nodes: Sequence[Node]) -> StageResources:
    """Of the processes that train a classifier together: as set, or one on each GPU, or one on processors."""
    if resources.train != "auto":
        return resources.train
    gpus = int(sum(node.gpus for node in nodes))
    return StageResources(actors=max(1, gpus), gpus=min(1, gpus))


def detect_resources(wanted: StageResources | Literal["auto"], nodes: Sequence[Node]) -> StageResources:
    """Of the actors that evaluate a detector: as set, or one on each GPU, or one on all cores of a node: what
    Ray gives to it is how many threads it computes with. ConfigError if they cannot all run at once."""
    gpus = int(sum(node.gpus for node in nodes))
    if wanted == "auto" and gpus:
        return StageResources(actors=gpus, gpus=1)
    if wanted == "auto":
        return StageResources(actors=1, cpus=max(1.0, max(node.cpus for node in nodes) - SPARE_CPUS))
    try:
        check_fits({"detect": wanted}, nodes)
    except ConfigError as error:
        raise ConfigError(
            f"--actors {wanted.actors} --gpus {wanted.gpus:g}: they find no room on the nodes that are up: "
            f"give fewer, or leave both out for as many as fit ({error})"
        ) from None
    return wanted


def threads_of(settings: PoolSettings, stage: str, source: str | None) -> int:
    """Of one actor."""
    match stage:
        case "source":
            return getattr(settings.sources[source or ""], "threads", 1)
        case "segment":
            return max(getattr(method, "threads", 1) for method in settings.segment.methods.values())
        case _:
            return settings.score.threads


def stage_costs(settings: PoolSettings, source: AnySource | None) -> dict[str, Cost]:
    """What an image costs in each model stage. Rough is enough: ratios matter. source: where it comes from;
    None if that is not asked for."""
    embedded = isinstance(source, DiffusionSource) and source.model == "embedded:diffusion"
    score = settings.score.model
    return {
        "source": _source_cost(source),
        "segment": _segment_cost(settings.segment.methods.values(), embedded),
        "score": Cost(_EMBEDDED_CLIP_S) if score == "embedded:clip" else _model_cost(_CLIP_TFLOP),
    }


def caption_costs() -> dict[str, Cost]:
    """Of an image that is read and captioned. A captioner gets the actors of `score`."""
    return {"source": Cost(_READ_S), "score": _model_cost(_BLIP_TFLOP)}


def context_costs(source: DiffusionSource, score_model: str) -> dict[str, Cost]:
    """Of an image that is generated and scored as a whole. score_model: CLIP."""
    embedded = score_model == "embedded:clip"
    score = Cost(_EMBEDDED_CLIP_S) if embedded else _model_cost(_CLIP_TFLOP)
    return {"source": _source_cost(source), "score": score}


def foreground_costs(settings: Foregrounds) -> dict[str, Cost]:
    """What a pair of an image and a category costs in each model stage: its segments are looked at one by
    one."""
    classifier = settings.classifier
    tflop = _CLIP_TFLOP
    if isinstance(classifier, ResNetClassifier):
        tflop = _RESNET_TFLOP[classifier.arch] * (classifier.side_px / 224) ** 2
    elif isinstance(classifier, TrainedClassifier):
        tflop = _RESNET_TFLOP["resnet50"]
    return {
        "source": Cost(_READ_S),
        "segment": _segment_cost(settings.segment.methods.values(), embedded=False),
        "score": _model_cost(_SEGMENTS * tflop, _SEGMENTS * _SEGMENT_PICTURE_S),
    }


def _source_cost(source: AnySource | None) -> Cost:
    if not isinstance(source, DiffusionSource):
        return Cost(_READ_S)
    steps = source.steps or _FEWEST_STEPS
    if source.model == "embedded:diffusion":
        return Cost(steps * _EMBEDDED_STEP_S)
    return _model_cost(steps * 2 * _UNET_TFLOP + _VAE_TFLOP)


def _segment_cost(methods: Iterable[AnyMethod], embedded: bool) -> Cost:
    """Of all methods, one after the other. On a GPU if any of them can use one: the others wait for a core of
    that actor then."""
    costs = [_method_cost(method, embedded) for method in methods]
    cpu_s = sum(cost.cpu_s for cost in costs)
    if all(cost.gpu_s is None for cost in costs):
        return Cost(cpu_s)
    return Cost(cpu_s, sum(cost.cpu_s if cost.gpu_s is None else cost.gpu_s for cost in costs))


def _method_cost(method: AnyMethod, embedded: bool) -> Cost:
    match method:
        case GrabCutMethod():
            return Cost(_GRABCUT_S[embedded])
        case FullMethod():
            return Cost(_FULL_S)
        case SamMethod():
            prompts = method.points_per_side**2 if method.prompt == "auto" else 1
            return _model_cost(_SAM_TFLOP + prompts * _SAM_PROMPT_TFLOP)
        case ClipSegMethod():
            return _model_cost(_CLIPSEG_TFLOP, _MATTING_S if method.matting else 0.0)
        case SaliencyMethod():
            return Cost(_SALIENCY_TFLOP / _CPU_TFLOPS)
        case MaskRcnnMethod():
            return _model_cost(_MASK_RCNN_TFLOP)
        case Mask2FormerMethod():
            return _model_cost(_MASK2FORMER_TFLOP)
        case SlicMethod():
            return Cost(len(method.segments) * _SLIC_S * (method.side_px / 256) ** 2)
        case FelzenszwalbMethod():
            return Cost(len(method.scales) * _FELZENSZWALB_S * (method.side_px / 256) ** 2)
        case MasksMethod():
            return Cost(_MASK_FILE_S)


def _model_cost(tflop: float, core_s: float = 0.0) -> Cost:
    """core_s: what a core does in any case."""
    return Cost(tflop / _CPU_TFLOPS + core_s, tflop / _GPU_TFLOPS + core_s)


def plan_pass(
    settings: PoolSettings, stages: Sequence[str], source: str | None, nodes: Sequence[Node]
) -> Plan:
    """The actors of stages that run at the same time; see `plan_resources`. source: whose units they get."""
    own = settings.sources[source] if source else None
    costs = stage_costs(settings, own)
    resources = settings.resources
    if not isinstance(own, DiffusionSource):
        resources = resources.model_copy(update={"source": fetch_resources(resources)})
    return plan_resources(resources, {stage: costs[stage] for stage in stages}, nodes)


def plan_resources(settings: ResourceSettings, costs: Mapping[str, Cost], nodes: Sequence[Node]) -> Plan:
    """The actors of each stage of `costs`: as set, or sized from `nodes` where it says `auto`.

    ConfigError if the cluster can never hold them.
    """
    told = {stage: getattr(settings, stage) for stage in costs}
    fixed = {stage: value for stage, value in told.items() if value != "auto"}
    plan = _size(fixed, costs, nodes)
    check_fits(plan, nodes)
    return plan


def _size(fixed: Plan, costs: Mapping[str, Cost], nodes: Sequence[Node]) -> Plan:
    """Actors for all stages of `costs`, in its order: the fixed ones, the others in what these leave."""
    auto = [stage for stage in costs if stage not in fixed]
    on_gpu = [stage for stage in auto if costs[stage].gpu_s is not None]
    main = max(costs, key=lambda stage: costs[stage].gpu_s or 0.0)
    shared = _share_gpus(on_gpu, fixed, main, nodes)
    rest = {stage: costs[stage].cpu_s for stage in auto if stage not in shared}
    rate = math.inf  # images a second that the GPUs make
    if shared:
        rate = shared[on_gpu[0]].actors / sum(costs[stage].gpu_s or 0.0 for stage in on_gpu)
    cpus = sum(node.cpus for node in nodes) - SPARE_CPUS - _total_cpus(fixed | shared)
    return _in_order(costs, fixed | shared | _share_cpus(rest, cpus, rate))


def _in_order(stages: Iterable[str], plan: Plan) -> Plan:
    return {stage: plan[stage] for stage in stages if stage in plan}


def _total_cpus(plan: Plan) -> float:
    return sum(stage.actors * stage.cpus for stage in plan.values())


# How the stages that share a card divide it, by the room on it and by their number. Each books more than
# half of what those before it leave, as far as eighths allow, and Ray starts them in this order: so each
# card gets one actor of each. With less, Ray would put two of a stage on one card and none on another.
_SHARES = (
    ((1.0,), (0.75, 0.25), (0.625, 0.25, 0.125)),
    ((0.75,), (0.625, 0.125)),
    ((0.5,), (0.375, 0.125)),
    ((0.25,), (0.125, 0.125)),
)


def _share_gpus(stages: Sequence[str], fixed: Plan, main: str, nodes: Sequence[Node]) -> Plan:
    """One actor of every stage on as many cards as possible, in what the fixed stages leave of them.

    The stages take a card in turn, so all cards are equally busy whatever the stages cost, as long as the
    costliest one, `main`, is on every card.
    """
    best, most = Plan(), (0, 0)
    for shares in (by_number[len(stages) - 1] for by_number in _SHARES if 0 < len(stages) <= len(by_number)):
        for actors in range(1, 1 + int(sum(node.gpus for node in nodes))):
            told = zip(stages, shares, strict=True)
            plan = {stage: StageResources(actors=actors, gpus=share) for stage, share in told}
            placed = _place(_in_order(MODEL_STAGES, fixed | plan), nodes)
            if any(stage.missing for stage in placed.values()):
                break
            used = set().union(*(placed[stage].cards for stage in stages))
            reached = (len(placed[main].cards), len(used))
            best, most = (plan, reached) if reached > most else (best, most)
    return best


def _share_cpus(seconds: Mapping[str, float], cores: float, rate: float) -> Plan:
    """Cores in the proportion of the stages' costs, at least one each, and no more than twice what `rate`
    needs: a GPU that waits for a core costs more than a core that waits, and costs are rough."""
    total = sum(seconds.values())
    plan = {}
    for stage, cost in seconds.items():
        share = max(1, round(cores * cost / total))
        needed = share if rate == math.inf else max(1, math.ceil(2 * rate * cost))
        plan[stage] = StageResources(actors=min(share, needed))
    return plan


def check_cores(resources: ResourceSettings) -> None:
    """ConfigError if an actor wants more cores than this machine has. Where Ray is started here it would
    get them: its CPUs are bookkeeping."""
    cores = len(os.sched_getaffinity(0))
    for stage in MODEL_STAGES:
        wanted = getattr(resources, stage)
        if wanted != "auto" and wanted.cpus > cores:
            raise ConfigError(
                f"resources.{stage}.cpus is {wanted.cpus:g} and this machine has {cores} cores: lower it, or "
                "set RAY_ADDRESS to a cluster with larger nodes"
            )


def check_fits(plan: Plan, nodes: Sequence[Node]) -> None:
    """ConfigError if these actors cannot all run at once on these nodes: Ray would wait for ever."""
    cpus = sum(node.cpus for node in nodes)
    needed = _total_cpus(plan) + SPARE_CPUS
    if needed > cpus:
        raise ConfigError(
            f"resources: the actors need {needed:g} CPUs ({SPARE_CPUS:g} of them for tasks) and the cluster "
            f"has {cpus:g}: lower resources.*.actors or .cpus, or add nodes"
        )
    for stage, placed in _place(plan, nodes).items():
        if placed.missing:
            raise ConfigError(_no_room(stage, plan[stage], placed.missing, nodes))


@dataclass(slots=True)
class _Placed:
    """Where a stage's actors went: the cards, as (node, card), and how many found no room."""

    cards: set[tuple[int, int]] = field(default_factory=set)
    missing: int = 0


def _place(plan: Plan, nodes: Sequence[Node]) -> dict[str, _Placed]:
    """Put the actors where Ray would: stage after stage, each on the fullest card that has room."""
    cpus = [node.cpus for node in nodes]
    cards = [[min(1.0, node.gpus - i) for i in range(math.ceil(node.gpus))] for node in nodes]
    found = {stage: _Placed() for stage in plan}
    for stage, wanted in plan.items():
        for number in range(wanted.actors):
            for place, node in enumerate(nodes):
                fits = cpus[place] >= wanted.cpus and wanted.accelerator_type in (None, node.accelerator_type)
                taken = _take(cards[place], wanted.gpus) if fits else None
                if taken is not None:
                    cpus[place] -= wanted.cpus
                    found[stage].cards |= {(place, card) for card in taken}
                    break
            else:
                found[stage].missing = wanted.actors - number
                break
    return found


def _take(cards: list[float], gpus: float) -> list[int] | None:
    """Book a share of one card, the fullest that has room, or whole ones. None: there is no room."""
    whole = math.floor(gpus)
    share = gpus if gpus < 1 else 1.0
    room = sorted((free, card) for card, free in enumerate(cards) if free >= share)
    taken = [card for _, card in room[: whole or math.ceil(gpus)]]
    if len(taken) < gpus:
        return None
    for card in taken:
        cards[card] -= share
    return taken


def _no_room(stage: str, wanted: StageResources, missing: int, nodes: Sequence[Node]) -> str:
    kind = f" of type {wanted.accelerator_type}" if wanted.accelerator_type else ""
    gpus = f"{wanted.gpus:g} GPUs{kind} and " if wanted.gpus or kind else ""
    there = "; ".join(f"{node.cpus:g} CPUs, {node.gpus:g} {node.accelerator_type or 'GPU'}" for node in nodes)
    return (
        f"resources.{stage}: {wanted.actors} actors with {gpus}{wanted.cpus:g} CPUs each cannot run at once: "
        f"{missing} of them find no room beside the other stages; the nodes that are up have {there}. Lower "
        f"resources.{stage}.actors, .gpus or .cpus, set it to auto, or start more nodes first"
    )


def describe(plan: Plan, units: int, source: str | None) -> str:
    """The plan of a pass, for people."""
    whose = f" of {source}" if source else ""
    how = "all stages at once" if len(plan) > 1 else "this stage by itself"
    width = max(map(len, plan))
    lines = [
        f"  {stage:{width}}  {wanted.actors} actor{'s' if wanted.actors > 1 else ''}"
        f", each {f'{wanted.gpus:g} GPU and ' if wanted.gpus else ''}{wanted.cpus:g} CPU"
        f"{f' ({wanted.accelerator_type})' if wanted.accelerator_type else ''}"
        for stage, wanted in plan.items()
    ]
    return "\n".join([f"plan: {units} units{whose}, {how}", *lines])
