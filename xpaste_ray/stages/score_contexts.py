"""Score stage of contexts: how well an image fits its caption, and how much it shows of target classes."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from xpaste_ray.config.contexts import ContextScoreSettings
from xpaste_ray.models.clip import ClipModel
from xpaste_ray.models.folders import OPEN_CLIP_FILE, model_folder
from xpaste_ray.records import Candidate, Proposal
from xpaste_ray.stages.batches import Outcome, ShapedBatches

OPTION = "contexts.score.model"
METHOD = "image"
"""Of the one proposal of an image, which has no mask."""


class ContextScoreStage:
    """Writes for every usable image a proposal with its scores, 100 x cosine of CLIP, and its embedding.

    caption_logit: of the image and the text that it was generated from. class_logit: the highest of the image
    and the prompts of all target classes (EM-Paste's code, clip_postprocess.py); without any it is left out.
    A score depends on its image and text only: batches have one shape, whoever else is in them.
    """

    def __init__(
        self, settings: ContextScoreSettings, class_texts: Sequence[str], device: str = "cpu"
    ) -> None:
        """class_texts: the target classes' prompts."""
        torch.set_num_threads(settings.threads)
        self._model = ClipModel(
            model_folder(settings.model, OPTION, OPEN_CLIP_FILE), device, settings.dtype, settings.resize
        )
        self._images: ShapedBatches[Candidate, np.ndarray] = ShapedBatches(
            lambda several: self._model.embed_images([one.image for one in several]),
            settings.micro_batch,
            "scoring_failed",
            lambda one: one.prompt.candidate_id,
        )
        self._texts: ShapedBatches[str, np.ndarray] = ShapedBatches(
            lambda texts: self._model.embed_texts(texts), 1, "scoring_failed", str
        )
        self._class_texts, self._classes = tuple(class_texts), list[Outcome[np.ndarray]]()

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        usable = [candidate for candidate in candidates if candidate.status == "ok"]
        texts = dict.fromkeys(candidate.prompt.text or "" for candidate in usable)
        of_text = dict(zip(texts, self._texts(list(texts)), strict=True))
        classes = self._of_classes() if usable else []
        outcomes = iter(self._images(usable))
        return [
            _scored(candidate, next(outcomes), of_text[candidate.prompt.text or ""], classes)
            if candidate.status == "ok"
            else candidate
            for candidate in candidates
        ]

    def _of_classes(self) -> list[Outcome[np.ndarray]]:
        """The embeddings of the classes' prompts; kept, unless one failed."""
        if not self._classes:
            outcomes = self._texts(self._class_texts)
            if any(outcome.failure is not None for outcome in outcomes):
                return outcomes
            self._classes = outcomes
        return self._classes


def _scored(
    candidate: Candidate,
    image: Outcome[np.ndarray],
    text: Outcome[np.ndarray],
    classes: Sequence[Outcome[np.ndarray]],
) -> Candidate:
    used = [image, text, *classes]
    failure = next((one.failure for one in used if one.failure is not None), None)
    if failure is not None:
        proposal = Proposal(METHOD, 0, None, "rejected", failure.reason)
        return replace(candidate, proposals=(proposal,), transient=candidate.transient or failure.transient)
    scores = {"caption_logit": 100.0 * float(image.value @ text.value)}
    if classes:
        scores["class_logit"] = 100.0 * max(float(image.value @ one.value) for one in classes)
    proposal = Proposal(
        METHOD, 0, None, scores=tuple(scores.items()), embedding=image.value.astype(np.float16)
    )
    if not all(map(math.isfinite, scores.values())):
        proposal = Proposal(METHOD, 0, None, "rejected", "nan_score")
    degraded = candidate.degraded_shape or any(one.degraded for one in used)
    return replace(candidate, proposals=(proposal,), degraded_shape=degraded)
