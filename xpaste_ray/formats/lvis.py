"""LVIS: COCO's layout with what is known about absent and unfinished categories.

images/000000.jpg ...   a file a sample
annotations.json        LVIS v1 keys; category ids are kept, gaps too

LVIS has no crowds: a crowd is left out, and its category counts as not exhaustively annotated in that
image, so that a detector is not punished for what it finds there. `coco_url` ends in the image's folder
and name, the part that LVIS readers use. `image_count` and `instance_count` are of this dataset;
`frequency` is the category's own, or follows from `image_count` by LVIS's limits if it has none.
Some loaders of LVIS take polygons only: write the dataset with polygons for those.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path

from xpaste_ray.categories import Category, category_to_coco
from xpaste_ray.formats import coco
from xpaste_ray.formats.coco import ANNOTATIONS, IMAGES, Entry
from xpaste_ray.formats.contract import Add, DatasetSpec, Format, image_files
from xpaste_ray.formats.findings import Finding
from xpaste_ray.formats.shards import Fragment, Polygons, Shard
from xpaste_ray.samples import Sample

_MAX_RARE_IMAGES = 10  # LVIS v1: rare 1 to 10 training images, common 11 to 100, frequent more
_MAX_COMMON_IMAGES = 100


def image_entry(sample: Sample, spec: DatasetSpec) -> Entry:
    entry = coco.image_entry(sample, spec)
    crowds = {annotation.category_id for annotation in sample.annotations if annotation.iscrowd}
    return entry | {
        "coco_url": f"{IMAGES}/{entry['file_name']}",
        "neg_category_ids": list(sample.neg_category_ids or ()),
        "not_exhaustive_category_ids": sorted({*(sample.not_exhaustive_category_ids or ()), *crowds}),
    }


def annotation_entries(sample: Sample, polygons: Polygons | None) -> list[Entry]:
    """COCO's entries without crowds and without the key `iscrowd`, which LVIS does not have."""
    entries = coco.annotation_entries(sample, polygons)
    return [entry for entry in entries if not entry.pop("iscrowd")]


class _Tally:
    """Images and instances of each category, for the file's `categories`."""

    def __init__(self) -> None:
        self._images: Counter[int] = Counter()
        self._instances: Counter[int] = Counter()

    def add(self, annotations: list[Entry]) -> None:
        ids = [entry["category_id"] for entry in annotations]
        self._instances.update(ids)
        self._images.update(set(ids))

    def entries(self, spec: DatasetSpec) -> list[Entry]:
        return [self._entry(category) for category in spec.categories]

    def _entry(self, category: Category) -> Entry:
        images = self._images[category.id]
        missing = {"synonyms": [category.name], "def": "", "frequency": frequency_of(images)}
        counted = {"image_count": images, "instance_count": self._instances[category.id]}
        return missing | category_to_coco(category) | counted


def frequency_of(image_count: int) -> str:
    """LVIS's class of a category by the images that have it: r, c or f."""
    if image_count <= _MAX_RARE_IMAGES:
        return "r"
    return "c" if image_count <= _MAX_COMMON_IMAGES else "f"


@contextmanager
def finish(folder: Path, spec: DatasetSpec) -> Iterator[Add]:
    tally = _Tally()
    head = {"info": dict(spec.info), "licenses": []}
    with coco.entry_file(
        folder / ANNOTATIONS, head, lambda: {"categories": tally.entries(spec)}
    ) as add_entries:

        def add(sample: Sample, polygons: Polygons | None) -> None:
            annotations = annotation_entries(sample, polygons)
            tally.add(annotations)
            add_entries(image_entry(sample, spec), annotations)

        yield add


def check(folder: Path, spec: DatasetSpec, fragments: Iterable[tuple[Shard, Fragment]]) -> Iterator[Finding]:
    tally = _Tally()

    def expected() -> Iterator[tuple[Entry, list[Entry]]]:
        for _, fragment in fragments:
            for sample, polygons in zip_longest(fragment.samples, fragment.polygons or ()):
                annotations = annotation_entries(sample, polygons)
                tally.add(annotations)
                yield image_entry(sample, spec), annotations

    yield from coco.check_entries(folder / ANNOTATIONS, expected(), partial(tally.entries, spec))


FORMAT = Format(
    image_folder=IMAGES,
    write_shard=coco.no_files,
    finish=finish,
    read_images=image_files(IMAGES),
    check=check,
)
