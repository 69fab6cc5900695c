"""One shard of a composed dataset, from plans to committed files."""

from collections import Counter
from pathlib import Path
from typing import Any

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.compose.annotate import annotate
from xpaste_ray.compose.plan import make_plan
from xpaste_ray.compose.render import render
from xpaste_ray.config import ComposeSettings
from xpaste_ray.formats import coco
from xpaste_ray.pool import Pool


def write_shard(
    dataset: Path,
    shard: coco.Shard,
    pool: Pool,
    backgrounds: Backgrounds,
    settings: ComposeSettings,
    seed: int,
    recipe: str,
) -> None:
    """Plan, render and write the shard's samples; the annotation fragment comes last.

    `recipe` is the fingerprint of the step; it tells a later run whether the shard is the one that
    it needs. Image ids are sample + 1: some readers take 0 for "no image".
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for sample in range(shard.first, shard.last + 1):
        plan = make_plan(pool, backgrounds, settings, seed, sample)
        rendered = render(plan, pool, backgrounds)
        coco.write_image(dataset, sample, rendered.image, settings.jpeg_quality)
        height, width = rendered.labels.shape
        images.append(
            {
                "id": sample + 1,
                "file_name": coco.image_name(sample),
                "height": height,
                "width": width,
                "background_id": plan.background_id,
            }
        )
        visible, left_out = annotate(plan, rendered, settings.min_visible_fraction)
        annotations += [{"image_id": sample + 1, **entry} for entry in visible]
        counts["placed"] += len(plan.placements)
        counts.update(left_out)
    fragment = {"recipe": recipe, "counts": counts, "images": images, "annotations": annotations}
    coco.write_fragment(dataset, shard, fragment)
