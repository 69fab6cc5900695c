"""How well a cut-out shows its category."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from xpaste_ray.config.base import Dtype, PositiveInt, Section, Template

View = Literal["white", "image", "crop", "black"]


class RealSettings(Section):
    """Similarity to real crops: the mean cosine to the CLIP embeddings of at most `per_category` objects of
    the same category. `crops`: a folder with a folder of images for each category, or a COCO or LVIS
    annotation file, whose images are in `images`. Source: DiverGen."""

    crops: str
    images: str | None = None
    per_category: PositiveInt = 64


class ScoreSettings(Section):
    """CLIP. `model` is "embedded:clip", an open_clip folder with safetensors, or hub:owner/name@revision.

    views, each with a score of its own: `white`, outside of the mask all white, in full frame, as
    `clip_logit` (X-Paste, stage C); `image`, the whole image, as `clip_logit_image`; `crop`, the mask's box
    of it, as `clip_logit_crop`; `black`, as `clip_logit_black` (X-Paste's dilation study). The first one's
    embedding is kept. resize: `pil`, antialiased; `tensor`, without, as X-Paste's code.
    nsfw, aesthetic: folders of heads on this CLIP's embedding, see `models.heads`.
    """

    model: str
    template: Template
    views: tuple[View, ...] = ("white",)
    resize: Literal["pil", "tensor"] = "pil"
    dtype: Dtype = "float32"
    micro_batch: PositiveInt
    threads: PositiveInt
    real: RealSettings | None = None
    nsfw: str | None = None
    aesthetic: str | None = None

    @field_validator("views", mode="before")
    @classmethod
    def _one_view(cls, views: Any) -> Any:
        return (views,) if isinstance(views, str) else views

    @field_validator("views")
    @classmethod
    def _each_once(cls, views: tuple[View, ...]) -> tuple[View, ...]:
        if not views or len(set(views)) < len(views):
            raise ValueError("must name one view at least, and each once")
        return views


Cosine = Annotated[float, Field(ge=-1, le=1)]
