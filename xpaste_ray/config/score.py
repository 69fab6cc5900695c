"""How well a cut-out shows its category."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from xpaste_ray.config.base import Dtype, PositiveInt, Section, Template

View = Literal["white", "image", "crop", "black"]


class RealSettings(Section):
    """Similarity to real objects: the mean cosine of a proposal's embedding to those of at most
    `per_category` real ones of its category. crops: a folder with a folder of images for each category, or a
    run or a pool, whose cut-outs are shown on white. A category without any has no such score. Source:
    DiverGen (Fan et al. 2024)."""

    crops: str
    per_category: PositiveInt = 64


Resize = Literal["pil", "tensor"]


class ScoreSettings(Section):
    """CLIP. `model` is "embedded:clip", an open_clip folder with safetensors, or hub:owner/name@revision.

    views, each with a score of its own: `white`, outside of the mask all white, in full frame, as
    `clip_logit` (X-Paste, stage C); `image`, the whole image, as `clip_logit_image`; `crop`, the mask's box
    of it, as `clip_logit_crop`; `black`, as `clip_logit_black` (X-Paste's dilation study). The first one's
    embedding is kept, and the optional scores come from it. resize: `pil`, antialiased; `tensor`, without, as
    X-Paste's code.
    nsfw, aesthetic: folders of heads on this CLIP's embedding, see `models.heads`.
    """

    model: str
    template: Template
    views: tuple[View, ...] = ("white",)
    resize: Resize = "pil"
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
