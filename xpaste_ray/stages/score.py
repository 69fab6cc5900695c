"""Score stage: how well CLIP finds the category in each masked image."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from xpaste_ray.categories import display_name
from xpaste_ray.config import ScoreSettings
from xpaste_ray.models.clip import ClipModel
from xpaste_ray.models.folders import OPEN_CLIP_FILE, model_folder
from xpaste_ray.records import Candidate, Proposal
from xpaste_ray.stages.batches import Outcome, ShapedBatches
from xpaste_ray.stages.faults import Failure

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What CLIP is shown of a proposal. pixels: (H, W, 3) uint8 RGB."""

    candidate_id: str
    pixels: np.ndarray


class ScoreStage:
    """Writes `clip_logit` (100 x cosine) and the image embedding of every usable proposal.

    What is scored is the image with everything outside the mask painted white, in full frame,
    against the score template. Source: X-Paste, stage C.
    """

    def __init__(self, settings: ScoreSettings, device: str = "cpu") -> None:
        torch.set_num_threads(settings.threads)
        self._settings = settings
        self._model = ClipModel(model_folder(settings.model, "score.model", OPEN_CLIP_FILE), device)
        self._images: ShapedBatches[_Shown, np.ndarray] = ShapedBatches(
            lambda shown: self._model.embed_images([one.pixels for one in shown]),
            settings.micro_batch,
            "scoring_failed",
            lambda one: one.candidate_id,
        )
        self._texts: ShapedBatches[str, np.ndarray] = ShapedBatches(
            lambda texts: self._model.embed_texts(texts), 1, "scoring_failed", str
        )
        self._known: dict[str, Outcome[np.ndarray]] = {}

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        shown = {(i, j): _masked(candidates[i], j) for i, j in _usable(candidates)}
        there = {place: one for place, one in shown.items() if one is not None}
        unfit: Outcome[np.ndarray] = Outcome(None, Failure("scoring_failed"))
        outcomes = dict.fromkeys(shown, unfit)
        outcomes |= zip(there, self._images(list(there.values())), strict=True)
        return [
            self._with_scores(candidate, {j: outcome for (k, j), outcome in outcomes.items() if k == i})
            for i, candidate in enumerate(candidates)
        ]

    def _with_scores(self, candidate: Candidate, outcomes: dict[int, Outcome[np.ndarray]]) -> Candidate:
        """The candidate, with the proposals scored that have an outcome."""
        if not outcomes:
            return candidate
        text = self._text(candidate.prompt.category)
        used = [text, *outcomes.values()]
        return replace(
            candidate,
            proposals=tuple(
                _scored(proposal, outcomes[j], text) if j in outcomes else proposal
                for j, proposal in enumerate(candidate.proposals)
            ),
            degraded_shape=candidate.degraded_shape or any(outcome.degraded for outcome in used),
            transient=candidate.transient
            or any(outcome.failure is not None and outcome.failure.transient for outcome in used),
        )

    def _text(self, category: str) -> Outcome[np.ndarray]:
        """The embedding of the category's template; kept, unless it failed."""
        if category in self._known:
            return self._known[category]
        (outcome,) = self._texts([self._settings.template.format(name=display_name(category))])
        if outcome.failure is None:
            self._known[category] = outcome
        return outcome


def _scored(proposal: Proposal, image: Outcome[np.ndarray], text: Outcome[np.ndarray]) -> Proposal:
    if (failure := image.failure or text.failure) is not None:
        return replace(proposal, status="rejected", reason=failure.reason)
    logit = 100.0 * float(image.value @ text.value)
    if not np.isfinite(logit):
        return replace(proposal, status="rejected", reason="nan_score")
    return replace(
        proposal,
        scores=(*proposal.scores, ("clip_logit", logit)),
        embedding=image.value.astype(np.float16),
    )


def _masked(candidate: Candidate, place: int) -> _Shown | None:
    """What is scored of the candidate's proposal; None if the mask does not fit the image."""
    candidate_id = candidate.prompt.candidate_id
    try:
        return _Shown(candidate_id, on_white(candidate.image, candidate.proposals[place].mask))
    except Exception:
        _LOG.exception("masking %s failed", candidate_id)
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
