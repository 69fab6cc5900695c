"""Source stage: prompts in, one image each out."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from xpaste_ray.config import SourceSettings
from xpaste_ray.models.diffusion import DiffusionModel
from xpaste_ray.models.folders import DIFFUSERS_FILE, model_folder
from xpaste_ray.records import Candidate, Prompt

_LOG = logging.getLogger(__name__)

_BLACK_BELOW = 8  # grey levels: nothing in the image is brighter
_CONSTANT_BELOW = 2  # grey levels between the darkest and the brightest value


class GenerateStage:
    """Runs text-to-image on a unit, always in the same batch shape."""

    def __init__(self, settings: SourceSettings, model_name: str, device: str = "cpu") -> None:
        torch.set_num_threads(settings.threads)
        self._settings = settings
        self._model_name = model_name
        self._model = DiffusionModel(
            model_folder(settings.model, "source.model", DIFFUSERS_FILE), settings.dtype
        )

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        prompts = [candidate.prompt for candidate in candidates]
        try:
            images = self._generate(prompts)
            return [self._outcome(c, image) for c, image in zip(candidates, images, strict=True)]
        except Exception:
            if len(candidates) == 1:
                _LOG.exception("generating %s failed", prompts[0].candidate_id)
                return [replace(candidates[0], status="rejected", reason="generation_failed")]
            return [row for candidate in candidates for row in self([candidate])]

    def _generate(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """(N, H, W, 3) float32. The batch is padded to its usual size: another shape would round
        differently, and an image must not depend on how many neighbours it has."""
        padded = [*prompts, *[prompts[-1]] * (self._settings.unit_size - len(prompts))]
        images = self._model.generate(
            [prompt.text for prompt in padded],
            [prompt.seed for prompt in padded],
            self._settings.steps,
            self._settings.guidance_scale,
        )
        return images[: len(prompts)]

    def _outcome(self, candidate: Candidate, image: np.ndarray) -> Candidate:
        made = replace(candidate, model=self._model_name)
        if not np.isfinite(image).all():
            return replace(made, status="rejected", reason="nan_image")
        pixels = np.rint(image * 255).astype(np.uint8)
        reason = None
        if pixels.max() < _BLACK_BELOW:
            reason = "black_image"
        elif int(pixels.max()) - int(pixels.min()) < _CONSTANT_BELOW:
            reason = "constant_image"
        return replace(made, image=pixels, status="rejected" if reason else "ok", reason=reason)
