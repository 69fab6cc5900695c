"""One shard of a composed dataset, from plans to committed files."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from xpaste_ray.backgrounds import AnyBackgrounds
from xpaste_ray.categories import Category
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.plan import PastePlan
from xpaste_ray.config import ComposeSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats.contract import DatasetSpec
from xpaste_ray.formats.dataset import write_shard
from xpaste_ray.formats.images import encode_image, encoding_of
from xpaste_ray.formats.shards import Shard
from xpaste_ray.pool import Pool


def dataset_spec(
    settings: ComposeSettings, pool: Pool, backgrounds: AnyBackgrounds, recipe: str, info: dict[str, Any]
) -> DatasetSpec:
    """What the settings' dataset is. ConfigError if pool and backgrounds name categories differently."""
    output = settings.output
    return DatasetSpec(
        recipe=recipe,
        formats=output.formats,
        encoding=encoding_of(output),
        categories=merged_categories(pool.categories, backgrounds.categories),
        count=settings.count,
        samples_per_shard=settings.samples_per_shard,
        polygons=output.polygons,
        info=info,
    )


def merged_categories(*vocabularies: Iterable[Category]) -> tuple[Category, ...]:
    """All categories by id, the first one told of each. ConfigError if an id has two names."""
    by_id: dict[int, Category] = {}
    for vocabulary in vocabularies:
        for category in vocabulary:
            known = by_id.setdefault(category.id, category)
            if known.name != category.name:
                raise ConfigError(
                    f"category {category.id} is {known.name!r} in the pool and {category.name!r} in the "
                    "backgrounds: use the pool `in_vocabulary` of the backgrounds' categories"
                )
    return tuple(by_id[number] for number in sorted(by_id))


def compose_shard(
    dataset: Path, shard: Shard, compositor: Compositor, spec: DatasetSpec, plans: Iterable[PastePlan] | None
) -> None:
    """Plan (unless `plans` are given), render and write the shard's samples."""
    samples, images = [], []
    counts: Counter[str] = Counter()
    if plans is None:
        plans = [compositor.plan(index) for index in shard.indices]
    for composed in compositor.render_all(plans):
        samples.append(composed.sample)
        images.append(encode_image(composed.image, spec.encoding))
        counts.update(composed.counts)
    write_shard(dataset, shard, samples, images, counts, spec)
