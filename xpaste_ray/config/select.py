"""Which proposals become instances, and how these are kept."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from xpaste_ray.config.base import Fraction, PositiveInt, Section
from xpaste_ray.config.score import Cosine, ScoreSettings, View

ClipScore = Literal["clip_logit", "clip_logit_image", "clip_logit_crop", "clip_logit_black"]

_VIEW_OF: dict[str, View] = {
    "clip_logit": "white", "clip_logit_image": "image", "clip_logit_crop": "crop", "clip_logit_black": "black"
}  # fmt: skip


class SelectSettings(Section):
    """A rule over score columns; null switches a limit off. All limits are included but where it says above.

    rule: `bar`, X-Paste's clean_pool: min(min_clip_logit, best of the category - tolerance); `threshold`: a
    cosine (logit / 100) above `min_cosine`, and no relaxation (X-Paste's summary, whose 0.5 is far above what
    CLIP gives).
    score: which one decides, and what "best" means. proposals: `one-per-image`, the best of each; `many`: all
    that pass, without those that a better one covers: IoU above `max_overlap_iou` (reason overlap), or more
    than `max_containment` of the smaller one's pixels in common (reason duplicate).
    min_real_similarity: to the user's own crops (DiverGen: 0.6); a category without any has no such limit.
    max_duplicate_cosine: of two of a category whose embeddings are nearer, the better one stays.
    max_per_category: and `pick` says which.
    """

    rule: Literal["bar", "threshold"] = "bar"
    score: ClipScore = "clip_logit"
    min_clip_logit: float
    tolerance: Annotated[float, Field(ge=0)]
    min_cosine: Cosine = 0.5  # X-Paste's summary
    min_area_fraction: Fraction
    max_area_fraction: Fraction
    proposals: Literal["one-per-image", "many"] = "one-per-image"
    max_overlap_iou: Fraction = 0.5  # ours, as the next: the summary gives no numbers
    max_containment: Fraction = 0.9
    min_real_similarity: Cosine | None = None
    max_nsfw: float | None = None
    min_aesthetic: float | None = None
    max_duplicate_cosine: Fraction | None = None
    max_per_category: PositiveInt | None = None
    pick: Literal["best", "random"] = "best"

    @model_validator(mode="after")
    def _ordered(self) -> "SelectSettings":
        if self.min_area_fraction > self.max_area_fraction:
            raise ValueError("min_area_fraction must not exceed max_area_fraction")
        return self

    def unmade(self, score: ScoreSettings) -> Iterator[str]:
        """What is wrong, for each score that the rule reads and these settings do not make."""
        if (view := _VIEW_OF[self.score]) not in score.views:
            yield f"select.score {self.score} is not made: add {view} to score.views"
        needs = {"min_real_similarity": "real", "max_nsfw": "nsfw", "min_aesthetic": "aesthetic"}
        for limit, source in needs.items():
            if getattr(self, limit) is not None and getattr(score, source) is None:
                yield f"select.{limit} needs score.{source}, which is not set"


class CutoutSettings(Section):
    """How an instance is cut out and kept.

    object: `outer-contour`, all that lies inside the largest outer contour, by polygon area (X-Paste, stage
    E): what is half transparent in there stays so; `component`, the largest connected part, by pixels, its
    holes clear. encoding: `raw` pixels, or `jpeg` colours with compressed alpha, an eighth of the bytes,
    decoded at use.
    """

    object: Literal["outer-contour", "component"] = "outer-contour"
    max_side_px: Annotated[int, Field(ge=8, le=2048)] = 256
    encoding: Literal["raw", "jpeg"] = "raw"
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
