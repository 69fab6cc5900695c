"""Contextual backgrounds: images to paste on that were generated from captions (EM-Paste, section 3.2)."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from xpaste_ray.config.base import Dtype, PositiveInt, Section, Template
from xpaste_ray.config.images import ImagesSettings
from xpaste_ray.config.resources import ResourceSettings
from xpaste_ray.config.score import Resize
from xpaste_ray.config.sources import DiffusionSource

SCENE_SETS: dict[str, tuple[str, ...]] = {
    "empaste": tuple(  # EM-Paste's code, background_captions.py, without ", color"; the text says 15
        f"A real photo of {scene}"
        for scene in (
            "empty living room", "empty kitchen", "blue sky", "empty city street", "empty city road",
            "empty lake", "empty sea", "railway without train", "empty railway", "trees", "forest",
            "empty street", "farms", "nature", "empty farm", "stable",
        )
    ),
    "xpaste": (  # X-Paste's code, generate_background.py
        "a photo of city scene.", "a photo of street.", "a photo in the room.", "a photo of nature",
        "a photo of village", "a photo of wild land",
    ),
}  # fmt: skip
"""Short names for lists of texts that show no object."""

PartOf = Annotated[float, Field(gt=0, le=1)]


class BlipCaptions(Section):
    """Captions that BLIP gives the images. `model`: a folder that transformers' `save_pretrained` wrote, with
    safetensors, or hub:owner/name@revision.

    per_image: how many each image gets (EM-Paste: 2, by another captioner). Words are drawn by nucleus
    sampling, by numbers that are keyed by the image and by which of its captions it is: top_p, tokens and
    repetition_penalty as in BLIP's code. micro_batch: images at a time, always in that shape.
    """

    kind: Literal["blip"]
    model: str
    per_image: PositiveInt = 2
    top_p: PartOf = 0.9
    min_tokens: PositiveInt = 5
    max_tokens: PositiveInt = 20
    repetition_penalty: Annotated[float, Field(ge=1)] = 1.1
    dtype: Dtype = "float32"
    micro_batch: PositiveInt = 8
    threads: PositiveInt = 1

    @model_validator(mode="after")
    def _ordered(self) -> "BlipCaptions":
        if self.min_tokens > self.max_tokens:
            raise ValueError("min_tokens must not exceed max_tokens")
        return self


class GivenCaptions(Section):
    """Captions that are there already. `file`: CSV, JSONL or Parquet with the columns path and caption, a row
    a caption, or COCO's captions JSON; images are named by their paths, or by their file names if no two
    have the same. per_image: at most so many of each image, the first ones; null takes all (EM-Paste: 2)."""

    kind: Literal["given"]
    file: str
    per_image: PositiveInt | None = None


class TemplateCaptions(Section):
    """Texts that need no images. `texts`: one, a list, or the name of one of `SCENE_SETS`. They are taken as
    they are, without distractors."""

    kind: Literal["templates"]
    texts: tuple[Annotated[str, Field(pattern=r"\S")], ...] = SCENE_SETS["empaste"]

    @field_validator("texts", mode="before")
    @classmethod
    def _one_text(cls, texts: Any) -> Any:
        return SCENE_SETS.get(texts, (texts,)) if isinstance(texts, str) else texts

    @field_validator("texts")
    @classmethod
    def _some_text(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not texts or len(set(texts)) < len(texts):
            raise ValueError("must have one text at least, and each once")
        return texts


AnyCaptions = BlipCaptions | GivenCaptions | TemplateCaptions
CaptionSettings = Annotated[AnyCaptions, Field(discriminator="kind")]


class ContextScoreSettings(Section):
    """CLIP, of whole images. `model`, resize, dtype, micro_batch: as in `score`. template: of the target
    classes, whose highest score is `class_logit` (EM-Paste's code: a photo of {name})."""

    model: str
    template: Template = "a photo of {name}"
    resize: Resize = "pil"
    dtype: Dtype = "float32"
    micro_batch: PositiveInt
    threads: PositiveInt


class ContextSelectSettings(Section):
    """Which images of a caption are kept: at most `keep`.

    rule: `top`, those that fit the caption best (EM-Paste, section 3.2: 5 of 10). `two-sided`: first the part
    `pure` of its images that show target classes the least, then the best by the caption (EM-Paste's code,
    clip_postprocess.py: of any number the 60 purest, twice as many as it keeps; our default is three of
    four).
    """

    rule: Literal["top", "two-sided"] = "top"
    keep: PositiveInt = 5
    pure: PartOf = 0.75


class Contexts(Section):
    """From labelled images, or from texts alone, to images to paste on.

    images: what is captioned, and whose categories must not be shown; null where `captions` are templates.
    targets: the classes that must not be shown, where these are others than those of the images: lvis or a
    file, see `categories.load_vocabulary`. fraction: part of the images that is captioned (EM-Paste: all of
    VOC, 0.1 of COCO). distractors: a YAML or JSON file, see `contexts.distractors`; null for EM-Paste's Table
    6. source: what generates. per_caption: images of each caption (EM-Paste: 10). image_format: of those
    that are kept.
    """

    images: ImagesSettings | None = None
    targets: str | None = None
    fraction: PartOf = 1.0
    captions: CaptionSettings
    distractors: str | None = None
    source: DiffusionSource
    per_caption: PositiveInt = 10
    score: ContextScoreSettings
    select: ContextSelectSettings = ContextSelectSettings()
    image_format: Literal["png", "jpeg"] = "png"

    @model_validator(mode="after")
    def _fits(self) -> "Contexts":
        if self.images is None and not isinstance(self.captions, TemplateCaptions):
            raise ValueError(
                f"captions of kind {self.captions.kind} are of images: set images.path (--images), or use "
                "captions: {kind: templates, texts: empaste}"
            )
        if self.select.rule == "two-sided" and self.images is None and self.targets is None:
            raise ValueError(
                "select.rule two-sided needs the target classes: set images or targets, or select.rule: top"
            )
        return self


class ContextSettings(Section):
    """Everything that contextual backgrounds are made from."""

    model_config = ConfigDict(extra="ignore")  # a preset may say what is composed of them, too

    seed: Annotated[int, Field(ge=0)]
    contexts: Contexts
    resources: ResourceSettings
