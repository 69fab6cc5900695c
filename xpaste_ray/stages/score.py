"""Score stage: how well CLIP finds the category in each proposal, and what else an embedding tells."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from xpaste_ray.categories import display_name
from xpaste_ray.config import ScoreSettings
from xpaste_ray.config.score import View
from xpaste_ray.models.clip import ClipModel
from xpaste_ray.models.folders import OPEN_CLIP_FILE, model_folder
from xpaste_ray.models.heads import open_heads
from xpaste_ray.models.real_crops import RealCrops, open_real_crops
from xpaste_ray.models.views import view_of
from xpaste_ray.records import Candidate, Proposal
from xpaste_ray.stages.batches import Outcome, ShapedBatches

SCORE_OF: dict[View, str] = {
    "white": "clip_logit",
    "image": "clip_logit_image",
    "crop": "clip_logit_crop",
    "black": "clip_logit_black",
}

Embedded = Outcome[np.ndarray]


class _Picture(Protocol):
    """pixels(): (H, W, 3) uint8 RGB, made when it is called: all at once would be much memory."""

    @property
    def name(self) -> str: ...

    @property
    def pixels(self) -> Callable[[], np.ndarray]: ...


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """What CLIP is shown of a candidate: a view of the proposal at `place`; the image itself, if None."""

    candidate: Candidate
    place: int | None
    view: View

    @property
    def name(self) -> str:
        return self.candidate.prompt.candidate_id

    def pixels(self) -> np.ndarray:
        image = self.candidate.image
        if self.place is None:
            return image
        return view_of(self.view, image, self.candidate.proposals[self.place].mask)


class ScoreStage:
    """Writes scores and an embedding for every usable proposal: all of them, or a reason why not.

    Of each view in the settings, 100 x cosine between what is shown and the category's template. `white` is
    X-Paste's stage C: what is outside of the mask painted white, in full frame. (Its score is CLIP's logit,
    exp(logit_scale) x cosine, and OpenAI's scale is 100; that of other models is left out here, so that all
    are cosines.) The embedding of the first view is kept, and from it come:

    - real_similarity, the mean cosine to real objects of the category, if there are any (DiverGen, Fan et al.
      2024, which takes instances from 0.6 on);
    - nsfw and aesthetic, see `models.heads`.

    A score depends on its proposal only: batches have one shape, whoever else is in them.
    """

    def __init__(self, settings: ScoreSettings, device: str = "cpu") -> None:
        torch.set_num_threads(settings.threads)
        self._settings = settings
        folder = model_folder(settings.model, "score.model", OPEN_CLIP_FILE)
        self._model = ClipModel(folder, device, settings.dtype, settings.resize)
        self._heads = open_heads(settings, self._model.dim)
        self._real: RealCrops | None = open_real_crops(settings.real) if settings.real else None
        self._threads = ThreadPoolExecutor(settings.threads)
        self._images: ShapedBatches[_Picture, np.ndarray] = ShapedBatches(
            self._embed, settings.micro_batch, "scoring_failed", lambda one: one.name
        )
        self._texts: ShapedBatches[str, np.ndarray] = ShapedBatches(
            lambda texts: self._model.embed_texts(texts), 1, "scoring_failed", str
        )
        self._known_texts: dict[str, Embedded] = {}
        self._known_real: dict[str, Embedded] = {}

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        shown = [list(self._shown(candidate)) for candidate in candidates]
        outcomes = iter(self._images([one for of_candidate in shown for one in of_candidate]))
        return [
            self._with_scores(candidate, dict(zip(of_candidate, outcomes, strict=False)))
            for candidate, of_candidate in zip(candidates, shown, strict=True)
        ]

    def _shown(self, candidate: Candidate) -> Iterator[_Shown]:
        """Every view of the usable proposals; the whole image once, for all of them."""
        usable = [i for i, proposal in enumerate(candidate.proposals) if proposal.status == "ok"]
        if candidate.status != "ok" or not usable:
            return
        for view in self._settings.views:
            for place in (None,) if view == "image" else usable:
                yield _Shown(candidate, place, view)

    def _embed(self, pictures: list[_Picture]) -> np.ndarray:
        """(N, D). What pads a batch is prepared once."""
        fresh = list(dict.fromkeys(pictures))
        prepared = self._threads.map(lambda one: self._model.prepare(one.pixels()), fresh)
        of = dict(zip(fresh, prepared, strict=True))
        return self._model.embed([of[one] for one in pictures])

    def _with_scores(self, candidate: Candidate, outcomes: Mapping[_Shown, Embedded]) -> Candidate:
        """The candidate, with the proposals scored that were shown."""
        if not outcomes:
            return candidate
        by_place = {(one.place, one.view): outcome for one, outcome in outcomes.items()}
        text, real = self._text(candidate.prompt.category), self._real_mean(candidate.prompt.category)
        used = [text, *([real] if real else []), *outcomes.values()]
        proposals = []
        for place, proposal in enumerate(candidate.proposals):
            if proposal.status == "ok":
                views = {
                    view: by_place[None if view == "image" else place, view] for view in self._settings.views
                }
                proposal = self._scored(proposal, views, text, real)
            proposals.append(proposal)
        return replace(
            candidate,
            proposals=tuple(proposals),
            degraded_shape=candidate.degraded_shape or any(outcome.degraded for outcome in used),
            transient=candidate.transient
            or any(outcome.failure is not None and outcome.failure.transient for outcome in used),
        )

    def _scored(
        self, proposal: Proposal, views: Mapping[View, Embedded], text: Embedded, real: Embedded | None
    ) -> Proposal:
        used = [*views.values(), text, *([real] if real else [])]
        failure = next((one.failure for one in used if one.failure is not None), None)
        if failure is not None:
            return replace(proposal, status="rejected", reason=failure.reason)
        scores = {SCORE_OF[view]: 100.0 * float(one.value @ text.value) for view, one in views.items()}
        kept = views[self._settings.views[0]].value
        if real:
            scores["real_similarity"] = float(kept @ real.value)
        scores |= {name: head(kept) for name, head in self._heads.items()}
        if not all(map(math.isfinite, scores.values())):
            return replace(proposal, status="rejected", reason="nan_score")
        return replace(
            proposal,
            scores=tuple({**dict(proposal.scores), **scores}.items()),
            embedding=kept.astype(np.float16),
        )

    def _text(self, category: str) -> Embedded:
        """The embedding of the category's template; kept, unless it failed."""
        if category not in self._known_texts:
            (outcome,) = self._texts([self._settings.template.format(name=display_name(category))])
            if outcome.failure is not None:
                return outcome
            self._known_texts[category] = outcome
        return self._known_texts[category]

    def _real_mean(self, category: str) -> Embedded | None:
        """The mean of its real crops' embeddings, so that one product is the mean cosine; kept, unless one
        failed. None if it has no crops."""
        if category not in self._known_real:
            crops = self._real.of(category) if self._real else ()
            if not crops:
                return None
            outcomes = self._images(crops)
            failed = next((one for one in outcomes if one.failure is not None), None)
            if failed is not None:
                return failed
            mean = np.mean([one.value for one in outcomes], axis=0, dtype=np.float32)
            self._known_real[category] = Outcome(mean, degraded=any(one.degraded for one in outcomes))
        return self._known_real[category]
