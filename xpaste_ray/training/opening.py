"""From datasets and a pool to what a detector is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xpaste_ray.backgrounds import AnyBackgrounds, Backgrounds
from xpaste_ray.compose.background_draw import weights
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.shards import merged_categories
from xpaste_ray.config import ComposeSettings
from xpaste_ray.config.train import TrainingSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.json_lists import list_entries
from xpaste_ray.pool import Pool
from xpaste_ray.training.orders import Order, OrderWithContexts, RepeatedOrder, repeat_factors
from xpaste_ray.training.samples import TrainingSamples, TrainingSource

MAIN = "train"


@dataclass(frozen=True, slots=True)
class Mixed:
    """A dataset that stands beside the main one. share: of all images, that come from it."""

    name: str
    backgrounds: Backgrounds
    share: float


def open_samples(
    backgrounds: AnyBackgrounds,
    pool: Pool | None,
    mixed: Sequence[Mixed],
    compose: ComposeSettings,
    training: TrainingSettings,
    seed: int,
) -> TrainingSamples:
    """backgrounds: the main dataset, contexts beside it if there are any; pasted on as `compose` says, with
    instances of the pool, in the dataset's vocabulary. Other datasets are shown as they are, on the same
    canvas. ConfigError if they do not fit together, or nothing of it can be drawn."""
    if pool is not None:
        pool = pool.in_vocabulary(backgrounds.categories)
    categories = merged_categories(
        *([pool.categories] if pool is not None and compose.needs_pool else []),
        backgrounds.categories,
        *(one.backgrounds.categories for one in mixed),
    )
    if not categories:
        raise ConfigError("--train has no annotations: give a COCO or LVIS file, or a composed dataset")
    rest = 1 - sum(one.share for one in mixed)
    sources = [
        TrainingSource(
            Compositor(pool, backgrounds, compose, seed),
            _order(backgrounds, compose, training, seed, MAIN),
            rest,
            _pasted_ids(_originals(backgrounds)),
        )
    ]
    as_it_is = compose.model_copy(update={"copy_rule": "none", "layout": "free", "contexts": None})
    for one in mixed:
        compositor = Compositor(None, one.backgrounds, as_it_is, seed)
        order = _order(one.backgrounds, as_it_is, training, seed, one.name)
        sources.append(TrainingSource(compositor, order, one.share, _pasted_ids(one.backgrounds)))
    return TrainingSamples(sources, categories, training.light, seed)


def _order(
    backgrounds: AnyBackgrounds, compose: ComposeSettings, training: TrainingSettings, seed: int, name: str
) -> Order:
    originals = _originals(backgrounds)
    rows, _, category_ids = originals.objects()
    factors = repeat_factors(rows, category_ids, len(originals), training.repeat_threshold)
    own = RepeatedOrder(factors, seed, name)
    if not backgrounds.context_count:
        return own
    of_originals, of_contexts = weights(len(originals), backgrounds.context_count, compose)
    contexts = RepeatedOrder(np.ones(backgrounds.context_count), seed, f"{name}:contexts")
    share = of_contexts / (of_originals + of_contexts)
    return OrderWithContexts(own, contexts, len(originals), share, seed)


def _originals(backgrounds: AnyBackgrounds) -> Backgrounds:
    return backgrounds if isinstance(backgrounds, Backgrounds) else backgrounds.originals


def _pasted_ids(backgrounds: Backgrounds) -> np.ndarray:
    """Ids of the annotations that a composed dataset says are of pasted objects, ascending."""
    file = backgrounds.source.annotation_file()
    if file is None:
        return np.array([], np.int64)
    text = Path(file).read_bytes().decode("latin-1")
    if '"origin"' not in text:
        return np.array([], np.int64)
    ids = [
        entry["id"]
        for key, _, _, entry in list_entries(text)
        if key == "annotations" and entry.get("origin", "background") != "background"
    ]
    return np.array(sorted(ids), np.int64)
