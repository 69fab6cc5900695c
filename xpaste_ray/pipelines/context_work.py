"""The two works of a run of contexts, see `unit_work.Work`: captions of images, and images of captions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xpaste_ray.config import ResourceSettings, StageResources
from xpaste_ray.config.contexts import BlipCaptions, Contexts
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.pipelines.context_inputs import ContextInputs
from xpaste_ray.pipelines.resources import (
    Node,
    Plan,
    caption_costs,
    context_costs,
    fetch_resources,
    plan_resources,
)
from xpaste_ray.pipelines.stage_code import Code, StageCode
from xpaste_ray.pipelines.steps import Step
from xpaste_ray.pipelines.unit_work import Pass
from xpaste_ray.records import Prompt, Unit
from xpaste_ray.sources.labelled import SOURCE, LabelledImages

_CATEGORY = "image"  # in prompts of whole images


@dataclass(frozen=True, slots=True)
class CaptionWork:
    """Images through the captioner. Its actors are as many as `resources.score` says: CLIP comes later."""

    inputs: ContextInputs
    images: LabelledImages
    captions: BlipCaptions
    step: Step

    stages = ("source", "caption")
    reads = True
    embedding_dim = 1  # it has none

    @property
    def recipe(self) -> str:
        return self.step.fingerprint

    @property
    def passes(self) -> list[Pass]:
        return [Pass(self.stages)]

    @property
    def resources(self) -> ResourceSettings:
        return self.inputs.settings.resources

    def units(self) -> Iterator[Unit]:
        prompts = [self._prompt(image) for image in self.inputs.chosen]
        told = self.inputs.settings.contexts.images
        size = told.unit_size if told else 1
        for number, start in enumerate(range(0, len(prompts), size)):
            yield Unit(0, number, tuple(prompts[start : start + size]))

    def _prompt(self, image: int) -> Prompt:
        made_by = fingerprint(self.images.recipe)[:8]
        name = f"{self.images.key(image)}-{made_by}"
        return Prompt(name, 0, _CATEGORY, image, SOURCE, uri=self.images.uris[image])

    def fingerprint(self, stage: str) -> str:
        return fingerprint({"captions": self.step.fingerprint, "stage": stage})

    def plan(self, one: Pass, nodes: Sequence[Node]) -> Plan:
        resources = self.resources.model_copy(update={"source": fetch_resources(self.resources)})
        plan = plan_resources(resources, caption_costs(), nodes)
        return {"source": plan["source"], "caption": plan["score"]}

    def code(self, one: Pass, plan: Plan) -> Code:
        return {
            "source": StageCode(
                "xpaste_ray.stages.read:ReadStage",
                {"settings": self.inputs.settings.contexts.images, "place": self.images.root},
            ),
            "caption": StageCode(
                "xpaste_ray.stages.caption:CaptionStage",
                {
                    "settings": self.captions,
                    "seed": self.inputs.settings.seed,
                    "device": plan["caption"].device,
                },
            ),
        }

    def threads(self, one: Pass, stage: str) -> int:
        return self.captions.threads if stage == "caption" else 1


@dataclass(frozen=True, slots=True)
class ContextWork:
    """Texts through the generator and CLIP. texts: a hash of all of them; planned: the work list."""

    inputs: ContextInputs
    steps: Mapping[str, Step]
    texts: str
    planned: Callable[[], Iterator[Unit]]

    stages = ("source", "score")
    reads = False

    @property
    def _told(self) -> Contexts:
        return self.inputs.settings.contexts

    @property
    def recipe(self) -> str:
        return self.fingerprint("source")

    @property
    def passes(self) -> list[Pass]:
        return [Pass(self.stages)]

    @property
    def resources(self) -> ResourceSettings:
        return self.inputs.settings.resources

    @property
    def embedding_dim(self) -> int:
        return self.inputs.embedding_dim

    def units(self) -> Iterator[Unit]:
        return self.planned()

    def fingerprint(self, stage: str) -> str:
        """Of the texts, too: a unit's place in the work list tells nothing of what is in it."""
        return fingerprint({"step": self.steps[stage].fingerprint, "texts": self.texts})

    def plan(self, one: Pass, nodes: Sequence[Node]) -> Plan:
        return plan_resources(self.resources, context_costs(self._told.source, self._told.score.model), nodes)

    def code(self, one: Pass, plan: Mapping[str, StageResources]) -> Code:
        told = self._told
        return {
            "source": StageCode(
                "xpaste_ray.stages.generate:GenerateStage",
                {
                    "settings": told.source,
                    "model_name": self.inputs.source_model,
                    "device": plan["source"].device,
                },
            ),
            "score": StageCode(
                "xpaste_ray.stages.score_contexts:ContextScoreStage",
                {
                    "settings": told.score,
                    "class_texts": self.inputs.class_texts,
                    "device": plan["score"].device,
                },
            ),
        }

    def threads(self, one: Pass, stage: str) -> int:
        return self._told.source.threads if stage == "source" else self._told.score.threads
