"""What is right: the annotated images that predictions are compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.categories import Category
from xpaste_ray.errors import ConfigError
from xpaste_ray.evaluation.told_sizes import NOTHING_TOLD, BoxF, ToldSize, read_told_sizes


@dataclass(frozen=True, slots=True)
class TruthObject:
    """An object, or a crowd, in pixels of the upright image. rle: COCO's, {"size": [H, W], "counts": bytes}.

    area and bbox_xywh are those of the annotation file; the mask's pixels and tight box where it has none.
    """

    category_id: int
    is_crowd: bool
    area: float
    bbox_xywh: BoxF
    rle: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TruthImage:
    """An image and all that is annotated in it. row: in the backgrounds. id: the dataset's own.

    The lists of category ids are LVIS's, empty where the dataset is not: verified to be absent, and present
    but perhaps not every one annotated.
    """

    row: int
    id: int
    size_hw: tuple[int, int]
    objects: tuple[TruthObject, ...]
    neg_category_ids: frozenset[int] = frozenset()
    not_exhaustive_category_ids: frozenset[int] = frozenset()

    def judged_category_ids(self) -> frozenset[int]:
        """LVIS: the categories of which it is known whether the image shows them."""
        return self.neg_category_ids | {one.category_id for one in self.objects}


@dataclass(frozen=True)
class Truth:
    """Images in the dataset's order, and all categories that objects can have."""

    images: tuple[TruthImage, ...]
    categories: tuple[Category, ...]
    is_lvis: bool

    @cached_property
    def by_id(self) -> Mapping[int, TruthImage]:
        return {image.id: image for image in self.images}

    @cached_property
    def category_ids(self) -> frozenset[int]:
        return frozenset(category.id for category in self.categories)


def truth_of(backgrounds: Backgrounds, rows: Sequence[int] | None = None, option: str = "--val") -> Truth:
    """The truth of an indexed COCO or LVIS dataset, or of some of its images.

    Images and annotations that the index had to leave out are not in it. ConfigError, which names `option`,
    if nothing is annotated.
    """
    file = backgrounds.source.annotation_file()
    if file is None or not backgrounds.categories:
        raise ConfigError(f"{option} has no annotations: give a COCO or LVIS file, or a folder that has one")
    wanted = range(len(backgrounds)) if rows is None else rows
    sizes = {_image_id(backgrounds, row): backgrounds.size_hw(row) for row in wanted}
    told = read_told_sizes(file, sizes.get)
    images = tuple(_image(backgrounds, row, told) for row in wanted)
    return Truth(images, backgrounds.categories, backgrounds.is_lvis)


def _image(backgrounds: Backgrounds, row: int, told: Mapping[int, ToldSize]) -> TruthImage:
    return TruthImage(
        row,
        _image_id(backgrounds, row),
        backgrounds.size_hw(row),
        tuple(_objects(backgrounds, row, told)),
        frozenset(backgrounds.neg_category_ids(row) or ()),
        frozenset(backgrounds.not_exhaustive_category_ids(row) or ()),
    )


def _objects(backgrounds: Backgrounds, row: int, told: Mapping[int, ToldSize]) -> Sequence[TruthObject]:
    found = []
    for one in backgrounds.annotations(row):
        size = told.get(one.id, NOTHING_TOLD)
        x, y, width, height = map(float, one.bbox_xywh)
        found.append(
            TruthObject(
                one.category_id,
                bool(one.iscrowd),
                float(one.area) if size.area is None else size.area,
                size.bbox_xywh or (x, y, width, height),
                one.rle,
            )
        )
    return found


def _image_id(backgrounds: Backgrounds, row: int) -> int:
    number = backgrounds.image_id(row)
    assert number is not None  # every image of an annotation file has one
    return number
