"""A composed dataset as columns: a number for each annotation, none of its pixels."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xpaste_ray.formats.contract import DatasetSpec, read_spec
from xpaste_ray.formats.dataset import read_images
from xpaste_ray.formats.shards import read_fragment
from xpaste_ray.rng import rng_for
from xpaste_ray.samples import Sample

ORIGINS = ("pool", "copied", "background")

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Composed:
    """spec: what it is. counts: the compositor's, of all shards, with images and annotations.
    objects: (images,) int, annotations of each. category, origin (place in `ORIGINS`): (A,) int, of the
    annotations. box_share: (A,) float, side of a square as large as the box / that of one as large as the
    image. centre_yx: (A, 2) float in [0, 1], of the box. visible: (A,) float in [0, 1]. backgrounds: how many
    different ones there are. shown: a few samples, drawn by key."""

    folder: Path
    spec: DatasetSpec
    counts: Mapping[str, int]
    objects: np.ndarray
    category: np.ndarray
    origin: np.ndarray
    box_share: np.ndarray
    centre_yx: np.ndarray
    visible: np.ndarray
    backgrounds: int
    shown: tuple[Sample, ...]

    @property
    def pasted(self) -> np.ndarray:
        """(A,) bool: what the background did not show by itself."""
        pasted: np.ndarray = self.origin != ORIGINS.index("background")
        return pasted

    def images(self) -> Iterator[tuple[Sample, bytes]]:
        """The shown samples with their encoded images."""
        wanted = {sample.index: sample for sample in self.shown}
        for shard in self.spec.shards:
            if wanted.keys().isdisjoint(shard.indices):
                continue
            for index, data in zip(shard.indices, read_images(self.folder, shard, self.spec), strict=True):
                if index in wanted:
                    yield wanted[index], data


def read_composed(folder: Path) -> Composed:
    """One fragment is held at a time. ConfigError if the dataset is damaged."""
    spec = read_spec(folder)
    draw = rng_for(0, "report", "samples").choice(spec.count, min(_SHOWN, spec.count), replace=False)
    wanted, shown = set(draw.tolist()), []
    counts: Counter[str] = Counter()
    objects, rows, backgrounds = [], [np.empty((0, 6))], set()
    for shard in spec.shards:
        fragment = read_fragment(folder, shard)
        counts.update(fragment.counts)
        for sample in fragment.samples:
            objects.append(len(sample.annotations))
            backgrounds.add(sample.background_id)
            if sample.index in wanted:
                shown.append(sample)
        rows.append(np.array([row for one in fragment.samples for row in _rows(one)]).reshape(-1, 6))
    table = np.concatenate(rows)
    counts.update(images=len(objects), annotations=len(table))
    return Composed(
        folder=folder,
        spec=spec,
        counts=counts,
        objects=np.array(objects),
        category=table[:, 0].astype(int),
        origin=table[:, 1].astype(int),
        box_share=table[:, 2],
        centre_yx=table[:, 3:5],
        visible=table[:, 5],
        backgrounds=len(backgrounds),
        shown=tuple(shown),
    )


def _rows(sample: Sample) -> Iterator[tuple[float, ...]]:
    area, origins = sample.height * sample.width, ORIGINS
    for one in sample.annotations:
        left, top, width, height = one.bbox
        yield (
            one.category_id,
            origins.index(one.origin),
            (width * height / area) ** 0.5,
            (top + height / 2) / sample.height,
            (left + width / 2) / sample.width,
            one.visible_fraction,
        )
