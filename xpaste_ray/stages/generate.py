"""Source stage: prompts in, one image each out."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from xpaste_ray.config import DiffusionSource
from xpaste_ray.models.diffusion import DiffusionModel, Picture
from xpaste_ray.models.folders import DIFFUSERS_FILE, model_folder
from xpaste_ray.pictures.usable import defect
from xpaste_ray.records import Candidate, Prompt
from xpaste_ray.stages.batches import Outcome, ShapedBatches

_LOG = logging.getLogger(__name__)


class GenerateStage:
    """Runs text-to-image on a unit, always in the same batch shape, see `ShapedBatches`.

    An image that is not finite, black or constant is made once more in float32, if the model's dtype is
    lower: half precision overflows. In float32 the same numbers would come out, so it is rejected at once.
    """

    def __init__(
        self,
        settings: DiffusionSource,
        model_name: str,
        device: str = "cpu",
        negative: str = "",
    ) -> None:
        torch.set_num_threads(settings.threads)
        self._model_name = model_name
        self._model = DiffusionModel(
            model_folder(settings.model, "sources.*.model", DIFFUSERS_FILE), settings, device, negative
        )
        # Two, each with a cap of its own: float32 needs twice the memory.
        self._usual = self._batches(lambda *given: self._model.generate(*given), settings.unit_size)
        self._precise = self._batches(
            lambda *given: self._model.generate_in_float32(*given), settings.unit_size
        )

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        prompts = [candidate.prompt for candidate in candidates]
        outcomes = self._usual(prompts)
        if self._model.lower_precision:
            doubtful = [i for i, outcome in enumerate(outcomes) if _broke_down(outcome)]
            again = self._precise([prompts[i] for i in doubtful])
            for place, outcome in zip(doubtful, again, strict=True):
                _LOG.warning("%s was made once more in float32", prompts[place].candidate_id)
                outcomes[place] = outcome
        return [self._made(c, outcome) for c, outcome in zip(candidates, outcomes, strict=True)]

    def _batches(
        self, generate: Callable[[list[str], list[int]], list[Picture]], size: int
    ) -> ShapedBatches[Prompt, Picture]:
        return ShapedBatches(
            lambda prompts: generate(
                [prompt.text for prompt in prompts], [prompt.seed for prompt in prompts]
            ),
            size,
            "generation_failed",
            lambda prompt: prompt.candidate_id,
        )

    def _made(self, candidate: Candidate, outcome: Outcome[Picture]) -> Candidate:
        made = replace(candidate, degraded_shape=outcome.degraded)
        if outcome.failure is not None:
            failure = outcome.failure
            return replace(made, status="rejected", reason=failure.reason, transient=failure.transient)
        picture = outcome.value
        reason = _defect(picture)
        image = picture.pixels if picture.finite else None
        status = "rejected" if reason else "ok"
        return replace(made, model=self._model_name, image=image, status=status, reason=reason)


def _defect(picture: Picture) -> str | None:
    """Why the image is of no use, if it is."""
    if not picture.finite:
        return "nan_image"
    if picture.flagged:
        return "unsafe_image"
    return defect(picture.pixels)


def _broke_down(outcome: Outcome[Picture]) -> bool:
    """In a way that more precision may cure; a safety checker's verdict is not."""
    return outcome.value is not None and _defect(outcome.value) not in (None, "unsafe_image")
