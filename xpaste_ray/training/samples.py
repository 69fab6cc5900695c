"""The endless row of images that a detector is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xpaste_ray.categories import Category
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.config.train import LightSettings
from xpaste_ray.rng import rng_for
from xpaste_ray.samples import Annotation, Sample
from xpaste_ray.training.light import relit
from xpaste_ray.training.orders import Order


@dataclass(frozen=True, slots=True)
class TrainingSource:
    """One dataset. share: of all images, that come from it. pasted: ids of its annotations that are of pasted
    objects, ascending, where it is a composed one."""

    compositor: Compositor
    order: Order
    share: float
    pasted: np.ndarray


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """image: (H, W, 3) uint8 RGB. pasted: of each annotation of the sample, whether it is of a pasted
    object."""

    image: np.ndarray
    sample: Sample
    pasted: tuple[bool, ...]


class TrainingSamples:
    """Sample i is the same in any order, in any process. A copy in another process opens the files again."""

    def __init__(
        self,
        sources: Sequence[TrainingSource],
        categories: Sequence[Category],
        light: LightSettings,
        seed: int,
    ) -> None:
        """categories: all that the sources may show."""
        self.categories = tuple(categories)
        self._sources, self._light, self._seed = tuple(sources), light, seed
        self._bounds = np.cumsum([source.share for source in sources])

    def __getitem__(self, number: int) -> TrainingSample:
        rng = rng_for(self._seed, "training", number)
        drawn = np.searchsorted(self._bounds, rng.random() * self._bounds[-1], side="right")
        source = self._sources[min(int(drawn), len(self._sources) - 1)]
        composed = source.compositor.compose(number, source.order[number])
        return TrainingSample(
            relit(composed.image, rng, self._light),
            composed.sample,
            tuple(_is_pasted(annotation, source.pasted) for annotation in composed.sample.annotations),
        )


def _is_pasted(annotation: Annotation, ids: np.ndarray) -> bool:
    """Here, or when the dataset was composed."""
    if annotation.origin != "background":
        return True
    if not len(ids):
        return False
    number = int(annotation.source_id.rpartition("#")[2])
    place = int(np.searchsorted(ids, number))
    return place < len(ids) and int(ids[place]) == number
