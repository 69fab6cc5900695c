"""The compositing service: what it serves, what a request may ask for, and who may ask."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from xpaste_ray.config.base import PositiveInt, Section
from xpaste_ray.config.compose import ComposeSettings, SidePx
from xpaste_ray.config.sources import Name

ALLOWED = (
    "blend", "canvas.fit", "canvas.flip_probability", "canvas.pad", "canvas.scale", "category", "colour",
    "copy_rule", "draw", "flip_probability", "instances", "layout", "mask_rate", "occlusion",
    "output.amodal", "output.image", "output.polygons", "output.quality", "output.subsampling", "place",
    "rotation_deg", "size",
)  # fmt: skip
"""Options of `compose` that a request may set, if the operator says nothing else."""

NEVER = frozenset(
    {
        "backgrounds", "background_images", "background_column", "contexts", "exclude_categories",
        "size.table", "output.provenance", "output.formats", "canvas.size_hw", "categories", "count",
        "samples_per_shard",
    }
)  # fmt: skip
"""What names or tells files, what would be opened anew, and what a request says by other means."""

Seconds = Annotated[float, Field(gt=0, le=3600)]


class ServeLimits(Section):
    """What one request may cost, and how many may wait.

    count: images. megapixels: of all of them together. image_seconds: of a core, for one image, as
    `serve.cost` tells it beforehand; all together may take `seconds`. body_bytes: of what a client sends,
    within body_seconds. seconds: from the whole request to the whole answer, half of which it may wait for a
    core. waiting: requests that may wait for a core of a replica; another one is told to come again.
    """

    count: Annotated[int, Field(ge=1, le=4096)] = 64
    side_px: SidePx = 2048
    megapixels: Annotated[float, Field(gt=0, le=10_000)] = 64.0
    instances: Annotated[int, Field(ge=0, le=1000)] = 100
    image_seconds: Seconds = 5.0
    body_bytes: Annotated[int, Field(ge=1024, le=64 * 2**20)] = 1_048_576
    body_seconds: Seconds = 10.0
    seconds: Seconds = 60.0
    waiting: Annotated[int, Field(ge=0, le=10_000)] = 16


class RecipeSettings(Section):
    """What `GET /v1/samples/{recipe}/...` composes: a preset, and `compose` options of it, by path."""

    preset: str
    options: dict[str, Any] = Field(default_factory=dict)


class ServeSettings(Section):
    """What a replica of the service is told, as `user_config` in a Serve config.

    pool: a run with a sealed pool, or its folder. backgrounds, background_images, background_column,
    contexts: as in `compose`. presets: those that a request may name; the first is what one gets that names
    none. options: of `compose`, by path, on top of any preset. allow: paths of `compose` that a request may
    set, each with all below it. recipes: by name.

    token_file: its lines are the tokens, any of which opens; it is read again when it changes. Without it the
    environment variable XPASTE_SERVE_TOKEN is the token. insecure: serve without any.
    hosts: where there is no token, the names by which it may be called, beside any address; all, if none is
    named.
    threads: images that one replica composes at a time.
    """

    pool: str
    backgrounds: str = "embedded:photos"
    background_images: str | None = None
    background_column: str | None = None
    contexts: str | None = None
    presets: Annotated[tuple[str, ...], Field(min_length=1)] = ("xpaste",)
    options: dict[str, Any] = Field(default_factory=dict)
    allow: tuple[str, ...] = ALLOWED
    recipes: dict[Name, RecipeSettings] = Field(default_factory=dict)
    token_file: str | None = None
    insecure: bool = False
    hosts: tuple[str, ...] = ()
    threads: PositiveInt = 1
    limits: ServeLimits = ServeLimits()

    @field_validator("allow")
    @classmethod
    def _harmless(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        for path in allow:
            if path in NEVER:
                raise ValueError(f"{path} is not for requests: leave it out")
            if path.split(".")[0] not in ComposeSettings.model_fields:
                raise ValueError(f"{path}: there is no such option of compose")
        return allow
