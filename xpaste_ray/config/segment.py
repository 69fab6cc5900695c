"""How objects are found in images: any number of named methods, one section a kind."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from xpaste_ray.config.base import Dtype, Fraction, PositiveInt, Section, Template
from xpaste_ray.config.sources import Name
from xpaste_ray.records import GIVEN

SidePx = Annotated[int, Field(ge=64, multiple_of=32)]  # the coarsest features of either network: 32 pixels


class GrabCutMethod(Section):
    """OpenCV's, without weights. The outermost `border_px` pixels are taken as sure background."""

    kind: Literal["grabcut"]
    border_px: PositiveInt = 2
    iterations: PositiveInt = 5


class FullMethod(Section):
    """The whole image: scores it as it is (X-Paste, stage B)."""

    kind: Literal["full"]


class _Network(Section):
    """`model`: a folder with safetensors, or hub:owner/name@revision. micro_batch: images at a time on a
    GPU; on CPU it is one."""

    model: str
    dtype: Dtype = "float32"
    micro_batch: PositiveInt = 4
    threads: PositiveInt = 1


class SamMethod(_Network):
    """segment-anything. Of its masks for a prompt, the one that it thinks best. It computes in `dtype` on a
    GPU, in float32 on processors. prompt: `centre` point; `box`, the image less `box_margin` of each side;
    `corners`, the background by points in the four corners, inverted (DiverGen); `auto`, a grid of
    `points_per_side` squared points, every mask of at least `min_iou` predicted quality, and of at least
    `min_stability`, overlaps above `max_overlap_iou` removed, `max_masks` at most."""

    kind: Literal["sam"]
    prompt: Literal["centre", "box", "corners", "auto"] = "centre"
    box_margin: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    points_per_side: PositiveInt = 16
    min_iou: Fraction = 0.88
    min_stability: Fraction = 0.95
    max_overlap_iou: Fraction = 0.7
    max_masks: PositiveInt = 50


class ClipSegMethod(_Network):
    """CLIPSeg, told `template` with the category's name. matting: refine by closed-form matting in the
    trimap's unknown part, (background below, foreground from) of 255; else the upsampled probabilities.
    renormalise: stretch each mask to [0, 1], as the paper's code does, so that something is always found
    (but in a constant mask). Source: X-Paste, stage B."""

    kind: Literal["clipseg"]
    template: Template = "a photo of {name}"
    matting: bool = True
    trimap: tuple[Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]] = (85, 170)
    renormalise: bool = True

    @field_validator("trimap")
    @classmethod
    def _in_order(cls, trimap: tuple[int, int]) -> tuple[int, int]:
        if trimap[0] > trimap[1]:
            raise ValueError("must be [background below, foreground from], the smaller first")
        return trimap


class SaliencyMethod(Section):
    """U2-Net or IS-Net through rembg. `model`: its ONNX file. renormalise: stretch each mask to [0, 1].
    Needs `pip install xpaste-ray[saliency]`. Computed on CPU."""

    kind: Literal["saliency"]
    model: str
    network: Literal["u2net", "isnet"] = "u2net"
    renormalise: bool = True
    threads: PositiveInt = 1


class MaskRcnnMethod(_Network):
    """torchvision's Mask R-CNN, for categories that its vocabulary names. `model`: a folder with safetensors
    and categories.json, the names by label. side_px: the image's longer side for the network."""

    kind: Literal["mask-rcnn"]
    side_px: SidePx = 800
    min_score: Fraction = 0.5
    max_masks: PositiveInt = 10


class Mask2FormerMethod(_Network):
    """Mask2Former of transformers. classes: `named`, the instances of the image's category, if the
    vocabulary names it; `any`, all that it finds, whatever they are (proposals, as EM-Paste wants them).
    side_px: the image's longer side for the network."""

    kind: Literal["mask2former"]
    classes: Literal["named", "any"] = "named"
    side_px: SidePx = 800
    min_score: Fraction = 0.5
    max_masks: PositiveInt = 10


class _Superpixels(Section):
    """Superpixels at several scales, and mergers of up to `max_merged` adjacent ones; of two that overlap by
    more than `max_overlap_iou` the better, `max_masks` at most. Computed at `side_px`, the longer side of
    larger images. The defaults were chosen on composed scenes: see benchmarks/proposals.py."""

    side_px: Annotated[int, Field(ge=32, le=2048)] = 256
    max_merged: PositiveInt = 100
    max_overlap_iou: Fraction = 0.8
    max_masks: PositiveInt = 60


class SlicMethod(_Superpixels):
    """SLIC of scikit-image. segments: about how many superpixels, a number a scale. compactness: how much
    nearness counts beside colour (scikit-image's own is 10)."""

    kind: Literal["slic"]
    segments: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (100, 200, 400)
    compactness: Annotated[float, Field(gt=0)] = 20.0


class FelzenszwalbMethod(_Superpixels):
    """Felzenszwalb and Huttenlocher's of scikit-image. scales: the larger, the larger the regions. sigma: of
    the smoothing before, their own. min_segment_fraction: of the image, smaller ones join a neighbour."""

    kind: Literal["felzenszwalb"]
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (25.0, 100.0)
    sigma: Annotated[float, Field(ge=0)] = 0.8
    min_segment_fraction: Fraction = 0.0015


class MasksMethod(Section):
    """Masks that were made elsewhere (COB, MCG, entity segmentation), known by the image's name. `path`: a
    folder with a .png, .npy or .npz for each image, or a JSON file as COCO's; see `models.mask_files`.
    The best by their scores, then the largest, `max_masks` at most."""

    kind: Literal["masks"]
    path: str
    max_masks: PositiveInt = 100


AnyMethod = (
    GrabCutMethod
    | FullMethod
    | SamMethod
    | ClipSegMethod
    | SaliencyMethod
    | MaskRcnnMethod
    | Mask2FormerMethod
    | SlicMethod
    | FelzenszwalbMethod
    | MasksMethod
)
MethodSettings = Annotated[AnyMethod, Field(discriminator="kind")]


class LimitSettings(Section):
    """What is no object by its extent, whatever proposed it; null is no limit. Below `min_area_fraction` or
    above `max_area_fraction` of the image, or with a box as high or wide as `max_box_span` of it or more.
    EM-Paste drops what is under 0.01 of the image, and what spans about all of a dimension (0.98)."""

    min_area_fraction: Fraction | None = None
    max_area_fraction: Fraction | None = None
    max_box_span: Annotated[float, Field(gt=0, le=1)] | None = None

    @field_validator("max_area_fraction")
    @classmethod
    def _above_the_smallest(cls, largest: float | None, told: ValidationInfo) -> float | None:
        smallest = told.data.get("min_area_fraction")
        if largest is not None and smallest is not None and largest < smallest:
            raise ValueError(f"must be at least min_area_fraction, {smallest:g}: no mask would be left")
        return largest


class SegmentSettings(Section):
    """Each of `methods` proposes masks for every image, under its name. What is beyond `limits` is rejected
    at once, and its mask not kept."""

    methods: dict[Name, MethodSettings]
    limits: LimitSettings = LimitSettings()

    @field_validator("methods")
    @classmethod
    def _some_method(cls, methods: dict[str, AnyMethod]) -> dict[str, AnyMethod]:
        if not methods:
            raise ValueError("needs at least one method, such as grabcut: {kind: grabcut}")
        if GIVEN in methods:
            raise ValueError(f"the name {GIVEN} is that of masks which a source brings along")
        return methods
