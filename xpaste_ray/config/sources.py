"""Where images come from: any number of named sources, one section a kind.

What is in a section can change an image, so it is part of the recipe of that source's images; `weight` and
`frequencies` only say which source is asked for which image.
"""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator

from xpaste_ray.config.base import Dtype, PositiveInt, Section

SourceSidePx = Annotated[int, Field(ge=64, le=2048, multiple_of=8)]
UnitSize = Annotated[int, Field(ge=1, le=256)]
MaxSidePx = Annotated[int, Field(ge=64, le=2048)]
Contact = Annotated[str, Field(pattern=r"^[!-~][ -~]{0,199}$")]
EngineName = Literal["openverse", "wikimedia"]
Licence = Literal["cc0", "pdm", "by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd"]


class _Source(Section):
    """weight: its share of the images of a category, beside the other sources that serve it. frequencies: it
    serves only categories of these LVIS frequencies (X-Paste's summary: web images for common ones,
    generated ones for rare)."""

    weight: Annotated[float, Field(gt=0)] = 1.0
    frequencies: tuple[Literal["r", "c", "f"], ...] | None = None

    @field_validator("frequencies", mode="before")
    @classmethod
    def _one_frequency(cls, frequencies: Any) -> Any:
        return (frequencies,) if isinstance(frequencies, str) else frequencies


class DiffusionSource(_Source):
    """Text-to-image. `model` is "embedded:diffusion", a diffusers folder with safetensors, or
    hub:owner/name@revision.

    Null means the pipeline's own: `steps` and `guidance_scale` (1 and 0.0 for SD-Turbo and SDXL-Turbo; 1
    or less is without guidance), `size_hw` in pixels. vae_batch: how many images the VAE decodes at a
    time, null for a whole unit. safety_checker: let the folder's own one, if it has any, reject images; off,
    none is rejected for what it shows. compile: run the denoising network through torch.compile. scheduler:
    `dpm-solver++` (second-order multistep) or `plms` instead of the one that the folder names; null keeps it.
    """

    kind: Literal["diffusion"]
    model: str
    scheduler: Literal["dpm-solver++", "plms"] | None = None
    steps: PositiveInt | None = None
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    size_hw: tuple[SourceSidePx, SourceSidePx] | None = None
    dtype: Dtype
    unit_size: UnitSize
    vae_batch: PositiveInt | None = None
    safety_checker: bool = True
    compile: bool = False
    threads: PositiveInt


class _FoundSource(_Source):
    """Images that exist already. Longer sides are reduced to `max_side_px`."""

    unit_size: UnitSize = 16
    max_side_px: MaxSidePx = 1024


class FolderSource(_FoundSource):
    """`path`: a folder with a folder of images (.jpg, .png, .webp) for each category, called by its name or
    id, or an index file (CSV, JSONL or Parquet) with the columns path and category, perhaps licence and page;
    its relative paths are relative to it."""

    kind: Literal["folder"]
    path: str


class FetchedSource(_FoundSource):
    """Images from the web.

    Limits: seconds for the whole of one image, bytes, redirects, further tries after a passing failure,
    requests a second to each host (of all actors together), connections of one actor. allow_private: also
    addresses of private and local networks. contact: an address or page where those who run the hosts
    reach you; it is sent with each request.
    """

    patience: ClassVar[frozenset[str]] = frozenset(
        ("timeout_s", "retries", "requests_per_host_s", "connections", "contact")
    )
    """What decides only whether an image comes, as the network itself does, and never what comes: no part
    of a recipe, so that a run can go on with more of it."""

    timeout_s: Annotated[float, Field(gt=0, le=300)] = 5.0
    max_bytes: Annotated[int, Field(ge=1024)] = 20 * 1024**2
    max_redirects: Annotated[int, Field(ge=0, le=20)] = 3
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    requests_per_host_s: Annotated[float, Field(gt=0)] = 5.0
    connections: Annotated[int, Field(ge=1, le=512)] = 32
    min_side_px: PositiveInt = 64
    allow_private: bool = False
    contact: Contact | None = None


class WebSource(FetchedSource):
    """`list`: a Parquet, CSV or JSONL file with the columns url and category, perhaps licence and page, as
    `xpaste search` writes."""

    kind: Literal["web"]
    list: str


class SearchSource(FetchedSource):
    """A search for each category's name, once a run; then as `web`. licences: only these, by the codes of
    Creative Commons; all that the engine has if there are none."""

    kind: Literal["search"]
    engine: EngineName
    address: str | None = None  # of the engine, if not its public one
    licences: tuple[Licence, ...] = ()


class WebDatasetSource(_FoundSource):
    """`path`: a folder of tar files as img2dataset writes them, or one of them. The JSON beside an image
    holds its category under `category_key` (img2dataset keeps columns so: save_additional_columns)."""

    kind: Literal["webdataset"]
    path: str
    category_key: str = "category"


class CandidatesSource(_FoundSource):
    """The stored images of an earlier `run`: for another segmenter or score, without making them again. They
    are those that the run has now: finish it first."""

    kind: Literal["candidates"]
    run: str


class CutoutsSource(_FoundSource):
    """Images with transparency (.png, .webp), as `folder`: each is an instance already, and is not
    segmented."""

    kind: Literal["cutouts"]
    path: str


class AnnotatedSource(_FoundSource):
    """Objects of a COCO or LVIS annotation file, or of a VOC folder, cut out by their masks; crowds are left
    out. `annotations`: the file, a dataset's folder, or the folder with SegmentationObject in it. `images`:
    where the images are, if not in the usual places. `margin`: of what is around an object, on each side, as
    a part of its box's longer side."""

    kind: Literal["annotated"]
    annotations: str
    images: str | None = None
    margin: Annotated[float, Field(ge=0, le=4)] = 0.1


AnySource = (
    DiffusionSource | FolderSource | WebSource | SearchSource | WebDatasetSource | CandidatesSource
    | CutoutsSource | AnnotatedSource
)  # fmt: skip
SourceSettings = Annotated[AnySource, Field(discriminator="kind")]


def _usable_name(name: str) -> str:
    """Names stand in provenance and in paths of settings."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name):
        raise ValueError("names are lower-case letters, digits, - and _, and begin with a letter")
    return name


Name = Annotated[str, AfterValidator(_usable_name)]
