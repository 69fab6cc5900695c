"""Classify stage: how far each proposal is from where a classifier sees the category, how well it shows it,
and its feature (EM-Paste, step 1)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from xpaste_ray.categories import Category
from xpaste_ray.config.classifier import AnyClassifier, CamSettings, FeatureSettings
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.models.cam import PointYX, activation_centre_yx, mean_distance
from xpaste_ray.models.classifier import Looked, open_classifier
from xpaste_ray.models.segment_picture import segment_picture
from xpaste_ray.records import Candidate, Proposal
from xpaste_ray.stages.batches import Outcome, ShapedBatches

_FAILED = "classification_failed"


@dataclass(frozen=True, slots=True)
class _Image:
    """One image, whichever candidates show it."""

    key: str
    pixels: np.ndarray = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Segment:
    """One segment of an image, whichever proposals of whichever candidates it is: by the mask's hash."""

    image: _Image
    mask_hash: str
    mask: np.ndarray = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Sought:
    """A category in an image. activations: see `Classifier.cam`."""

    image: _Image
    output: int
    activations: np.ndarray = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a candidate is asked for: the output of its category, and segments by their proposals' places."""

    image: _Image
    output: int
    segments: Mapping[int, _Segment]


class ClassifyStage:
    """Writes cam_distance, class_score and the feature of every usable proposal, or why there are none.

    - cam_distance: the mean distance of its pixels to the centre of the category's Grad-CAM in the image,
      divided by the image's diagonal.
    - class_score: the probability of the category in the segment alone.
    - embedding: the feature of the segment alone, as float16.

    Candidates of one image (of the same uri) share what is the same for them: the image's activations, a
    segment's feature and probabilities. None depends on its neighbours: batches have one shape.
    """

    def __init__(
        self,
        settings: AnyClassifier,
        categories: Sequence[Category],
        cam: CamSettings,
        features: FeatureSettings,
        device: str = "cpu",
        trained: Path | None = None,
    ) -> None:
        """categories, trained: see `open_classifier`."""
        torch.set_num_threads(settings.threads)
        self._cam, self._features = cam, features
        self._classifier = open_classifier(settings, categories, device, trained)
        size = self._classifier.micro_batch
        self._images: ShapedBatches[_Image, np.ndarray] = ShapedBatches(
            lambda images: self._classifier.activations([one.pixels for one in images]),
            size,
            _FAILED,
            lambda one: one.key,
        )
        self._centres: ShapedBatches[_Sought, PointYX] = ShapedBatches(
            self._find, 1, _FAILED, lambda one: f"output {one.output} in {one.image.key}"
        )
        self._segments: ShapedBatches[_Segment, Looked] = ShapedBatches(
            self._look, size, _FAILED, lambda one: f"a segment of {one.image.key}"
        )

    def __call__(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        asked = [self._asked(candidate) for candidate in candidates]
        wanted = [one for one in asked if isinstance(one, _Asked)]
        segments = list(dict.fromkeys(segment for one in wanted for segment in one.segments.values()))
        looked = dict(zip(segments, self._segments(segments), strict=True))
        centres = self._seek(wanted)
        return [
            _scored(candidate, one, centres[one.image, one.output], looked)
            if isinstance(one, _Asked)
            else _rejected(candidate, one)
            for candidate, one in zip(candidates, asked, strict=True)
        ]

    def _asked(self, candidate: Candidate) -> _Asked | str | None:
        """None if there is nothing to classify; a reason if it cannot be."""
        image = candidate.image
        usable = {
            place: proposal.mask
            for place, proposal in enumerate(candidate.proposals)
            if proposal.status == "ok" and proposal.mask is not None
        }
        if candidate.status != "ok" or image is None or not usable:
            return None
        output = self._classifier.output_of(candidate.prompt.category)
        if output is None:
            return "unknown_category"
        shown = _Image(candidate.prompt.uri or candidate.prompt.candidate_id, image)
        return _Asked(
            shown, output, {place: _Segment(shown, _hash(mask), mask) for place, mask in usable.items()}
        )

    def _seek(self, wanted: Sequence[_Asked]) -> dict[tuple[_Image, int], Outcome[PointYX]]:
        """Where each category is in its image."""
        images = list(dict.fromkeys(one.image for one in wanted))
        bodies = dict(zip(images, self._images(images), strict=True))
        found: dict[tuple[_Image, int], Outcome[PointYX]] = {}
        for image, output in dict.fromkeys((one.image, one.output) for one in wanted):
            body = bodies[image]
            if body.value is None:
                found[image, output] = Outcome(None, body.failure, body.degraded)
                continue
            (centre,) = self._centres([_Sought(image, output, body.value)])
            found[image, output] = replace(centre, degraded=body.degraded)
        return found

    def _find(self, sought: list[_Sought]) -> list[PointYX]:
        return [
            activation_centre_yx(
                self._classifier.cam(one.activations, one.output, _size_hw(one.image)), self._cam.threshold
            )
            for one in sought
        ]

    def _look(self, segments: list[_Segment]) -> list[Looked]:
        """What pads a batch is painted once."""
        side, told = self._classifier.side_px, self._features
        pictures = {
            one: segment_picture(one.image.pixels, one.mask, side, told.erode, told.grey)
            for one in dict.fromkeys(segments)
        }
        return self._classifier.look([pictures[one] for one in segments])


def _hash(mask: np.ndarray) -> str:
    return f"{mask.shape} {hash_bytes(mask.tobytes())}"


def _size_hw(image: _Image) -> tuple[int, int]:
    return image.pixels.shape[0], image.pixels.shape[1]


def _scored(
    candidate: Candidate,
    asked: _Asked,
    centre: Outcome[PointYX],
    looked: Mapping[_Segment, Outcome[Looked]],
) -> Candidate:
    proposals = list(candidate.proposals)
    for place, segment in asked.segments.items():
        proposals[place] = _with_scores(proposals[place], segment, asked.output, centre, looked[segment])
    used: list[Outcome[PointYX] | Outcome[Looked]] = [
        centre,
        *(looked[one] for one in asked.segments.values()),
    ]
    return replace(
        candidate,
        proposals=tuple(proposals),
        degraded_shape=candidate.degraded_shape or any(one.degraded for one in used),
        transient=candidate.transient
        or any(one.failure is not None and one.failure.transient for one in used),
    )


def _with_scores(
    proposal: Proposal, segment: _Segment, output: int, centre: Outcome[PointYX], looked: Outcome[Looked]
) -> Proposal:
    failure = centre.failure or looked.failure
    if failure is not None or centre.value is None or looked.value is None:
        return replace(proposal, status="rejected", reason=failure.reason if failure else _FAILED)
    with np.errstate(over="ignore"):  # what float16 cannot hold is told below
        feature = looked.value.feature.astype(np.float16)
    scores = {
        "cam_distance": mean_distance(segment.mask, centre.value),
        "class_score": float(looked.value.probabilities[output]),
    }
    if not (all(map(math.isfinite, scores.values())) and np.isfinite(feature).all()):
        return replace(proposal, status="rejected", reason="nan_score")
    return replace(proposal, scores=tuple({**dict(proposal.scores), **scores}.items()), embedding=feature)


def _rejected(candidate: Candidate, reason: str | None) -> Candidate:
    return candidate if reason is None else replace(candidate, status="rejected", reason=reason)
