"""Images whose categories are known, and nothing of where the objects are."""

from typing import ClassVar, Literal

from xpaste_ray.config.base import Section
from xpaste_ray.config.sources import MaxSidePx, UnitSize

Labels = Literal["auto", "folders", "voc", "coco", "list"]


class ImagesSettings(Section):
    """Images with image-level labels, several an image if need be.

    path: a folder with a folder of images for each category; a VOC folder (names from Annotations/*.xml, its
    boxes are not used), or one of its lists, ImageSets/Main/train.txt, for those images only; a COCO or LVIS
    file, or its dataset's folder (categories only); a list (.csv, .jsonl, .parquet) with the columns path and
    category, several categories with ; between them, or several rows an image; or embedded:labelled, the few
    that the package ships. labels: which of these; `auto` looks. images: where the images are, if not in the
    usual places. vocabulary: whose ids and names the categories have, lvis or a file, see
    `categories.load_vocabulary`; null for those of the images themselves. Longer sides are reduced to
    `max_side_px`. unit_size: pairs of an image and one of its categories that are computed together, at most:
    all of one image are, whatever their number.
    """

    kind: ClassVar[str] = "images"
    """Under which `stages.read` knows how they are read, as it does of sources."""

    path: str
    labels: Labels = "auto"
    images: str | None = None
    vocabulary: str | None = None
    max_side_px: MaxSidePx = 1024
    unit_size: UnitSize = 8
