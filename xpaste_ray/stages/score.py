"""Score stage: how well CLIP finds the category in each masked image."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from xpaste_ray.categories import display_name
from xpaste_ray.config import ScoreSettings
from xpaste_ray.models.clip import ClipModel
from xpaste_ray.models.folders import OPEN_CLIP_FILE, model_folder
from xpaste_ray.records import Candidate, Proposal

_LOG = logging.getLogger(__name__)


class ScoreStage:
    """Writes `clip_logit` (100 x cosine) and the image embedding of every usable proposal.

    What is scored is the image with everything outside the mask painted white, in full frame,
    against the score template. Source: X-Paste, stage C.
    """

    def __init__(self, settings: ScoreSettings, device: str = "cpu") -> None:
        torch.set_num_threads(settings.threads)
        self._settings = settings
        self._model = ClipModel(model_folder(settings.model, "score.model", OPEN_CLIP_FILE))
        self._texts: dict[str, np.ndarray] = {}

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        places = list(_usable(candidates))
        images = [_masked(candidates[i], candidates[i].proposals[j]) for i, j in places]
        embeddings = dict(zip(places, self._embed(images), strict=True))
        return [
            replace(
                candidate,
                proposals=tuple(
                    self._scored(candidate, proposal, embeddings[i, j]) if (i, j) in embeddings else proposal
                    for j, proposal in enumerate(candidate.proposals)
                ),
            )
            for i, candidate in enumerate(candidates)
        ]

    def _scored(self, candidate: Candidate, proposal: Proposal, embedding: np.ndarray | None) -> Proposal:
        if embedding is None:
            return replace(proposal, status="rejected", reason="scoring_failed")
        logit = 100.0 * float(embedding @ self._text(candidate.prompt.category))
        if not np.isfinite(logit):
            return replace(proposal, status="rejected", reason="nan_score")
        return replace(
            proposal,
            scores=(*proposal.scores, ("clip_logit", logit)),
            embedding=embedding.astype(np.float16),
        )

    def _text(self, category: str) -> np.ndarray:
        if category not in self._texts:
            text = self._settings.template.format(name=display_name(category))
            self._texts[category] = self._model.embed_texts([text])[0]
        return self._texts[category]

    def _embed(self, images: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
        """One embedding an image, None where it failed, in micro-batches of one fixed shape."""
        size = self._settings.micro_batch
        found: list[np.ndarray | None] = [None] * len(images)
        there = [(place, image) for place, image in enumerate(images) if image is not None]
        for start in range(0, len(there), size):
            places, part = zip(*there[start : start + size], strict=True)
            for place, embedding in zip(places, self._embed_batch(part), strict=True):
                found[place] = embedding
        return found

    def _embed_batch(self, images: Sequence[np.ndarray]) -> Sequence[np.ndarray | None]:
        """At most `micro_batch` images; if they fail together, each is tried alone."""
        padded = [*images, *[images[-1]] * (self._settings.micro_batch - len(images))]
        try:
            return list(self._model.embed_images(padded)[: len(images)])
        except Exception:
            _LOG.exception("scoring %d images failed", len(images))
            return [None] if len(images) == 1 else [self._embed_batch([image])[0] for image in images]


def _masked(candidate: Candidate, proposal: Proposal) -> np.ndarray | None:
    """What is scored of a proposal; None if its mask does not fit its image."""
    try:
        return on_white(candidate.image, proposal.mask)
    except Exception:
        _LOG.exception("masking %s failed", candidate.prompt.candidate_id)
        return None


def on_white(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image where mask > 128, white elsewhere: (H, W, 3) uint8."""
    return np.where((mask > 128)[..., None], image, np.uint8(255))


def _usable(candidates: Sequence[Candidate]) -> Iterator[tuple[int, int]]:
    for i, candidate in enumerate(candidates):
        if candidate.status == "ok":
            for j, proposal in enumerate(candidate.proposals):
                if proposal.status == "ok":
                    yield i, j
