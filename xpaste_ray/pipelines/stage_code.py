"""Which class each stage's actors run, and with what."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xpaste_ray.config import DiffusionSource
from xpaste_ray.config.sources import FetchedSource
from xpaste_ray.pipelines.resources import Plan
from xpaste_ray.pipelines.steps import Inputs
from xpaste_ray.runs import RunDir
from xpaste_ray.sources.found import FoundImages


@dataclass(frozen=True, slots=True)
class StageCode:
    """What a stage runs: "module:Class" and the arguments of its constructor."""

    target: str
    kwargs: Mapping[str, Any]


Code = Mapping[str, StageCode]


def stage_code(inputs: Inputs, plan: Plan, source: str | None, run: RunDir) -> Code:
    """The models' own stages. source: whose units come, where the plan begins with the source stage. run:
    where what is fetched is kept."""
    settings = inputs.settings
    code = {}
    for stage, resources in plan.items():
        match stage:
            case "source":
                code[stage] = _source_code(inputs, source or "", resources.device, run)
            case "segment":
                code[stage] = StageCode(
                    "xpaste_ray.stages.segment:SegmentStage",
                    {"settings": settings.segment, "device": resources.device},
                )
            case "score":
                code[stage] = StageCode(
                    "xpaste_ray.stages.score:ScoreStage",
                    {"settings": inputs.score, "device": resources.device},
                )
    return code


def _source_code(inputs: Inputs, name: str, device: str, run: RunDir) -> StageCode:
    settings, opened = inputs.settings.sources[name], inputs.sources[name]
    if isinstance(settings, DiffusionSource):
        model, negative = opened.recipe["model"], inputs.settings.prompts.negative
        kwargs = {"settings": settings, "model_name": model, "device": device, "negative": negative}
        return StageCode("xpaste_ray.stages.generate:GenerateStage", kwargs)
    if isinstance(settings, FetchedSource):
        from xpaste_ray.pipelines.host_pace import RemotePace

        pace = RemotePace(settings.requests_per_host_s)
        return StageCode(
            "xpaste_ray.stages.fetch:FetchStage", {"settings": settings, "run": run, "pace": pace}
        )
    assert isinstance(opened, FoundImages)  # every other kind reads what is there
    return StageCode("xpaste_ray.stages.read:ReadStage", {"settings": settings, "place": opened.place})
