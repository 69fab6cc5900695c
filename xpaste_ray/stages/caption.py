"""Caption stage: what an image shows, in words."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from xpaste_ray.config.contexts import BlipCaptions
from xpaste_ray.models.captioner import Captioner
from xpaste_ray.records import Candidate
from xpaste_ray.rng import rng_for
from xpaste_ray.stages.batches import Outcome, ShapedBatches


class CaptionStage:
    """Gives every usable image its captions, and hands it on without its pixels, which nothing needs then.

    A caption depends on the image, the seed and its number only: its random numbers are keyed so, and batches
    have one shape, see `ShapedBatches`.
    """

    def __init__(self, settings: BlipCaptions, seed: int, device: str = "cpu") -> None:
        torch.set_num_threads(settings.threads)
        self._settings, self._seed = settings, seed
        self._captioner = Captioner(settings, device)
        self._batches: ShapedBatches[Candidate, list[str]] = ShapedBatches(
            self._caption, self._captioner.micro_batch, "caption_failed", lambda one: one.prompt.candidate_id
        )

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        usable = [candidate for candidate in candidates if candidate.status == "ok"]
        outcomes = iter(self._batches(usable))
        return [
            _captioned(candidate, next(outcomes)) if candidate.status == "ok" else candidate
            for candidate in candidates
        ]

    def _caption(self, candidates: list[Candidate]) -> list[list[str]]:
        numbers = np.stack([self._numbers(candidate) for candidate in candidates])
        return self._captioner([candidate.image for candidate in candidates], numbers)

    def _numbers(self, candidate: Candidate) -> np.ndarray:
        """(captions, max_tokens)"""
        image = candidate.prompt.candidate_id
        settings = self._settings
        return np.stack(
            [
                rng_for(self._seed, "caption", image, ordinal).random(settings.max_tokens)
                for ordinal in range(settings.per_image)
            ]
        )


def _captioned(candidate: Candidate, outcome: Outcome[list[str]]) -> Candidate:
    done = replace(candidate, image=None, degraded_shape=candidate.degraded_shape or outcome.degraded)
    if outcome.failure is not None:
        failure = outcome.failure
        return replace(done, status="rejected", reason=failure.reason, transient=failure.transient)
    captions = tuple(text for text in outcome.value or () if text)
    if not captions:
        return replace(done, status="rejected", reason="empty_caption")
    return replace(done, captions=captions)
