"""One shard of a composed dataset, from plans to committed files."""

from pathlib import Path

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.compose.annotate import annotate
from xpaste_ray.compose.plan import PlanOptions, make_plan
from xpaste_ray.compose.render import render
from xpaste_ray.formats import coco
from xpaste_ray.pool import Pool


def write_shard(
    dataset: Path,
    shard: coco.Shard,
    pool: Pool,
    backgrounds: Backgrounds,
    options: PlanOptions,
    seed: int,
    min_visible_fraction: float,
    jpeg_quality: int,
) -> None:
    """Plan, render and write the shard's samples; the annotation fragment comes last.

    Image ids are sample + 1: some readers take 0 for "no image".
    """
    images, annotations = [], []
    for sample in range(shard.first, shard.last + 1):
        plan = make_plan(pool, backgrounds, options, seed, sample)
        rendered = render(plan, pool, backgrounds)
        coco.write_image(dataset, sample, rendered.image, jpeg_quality)
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
        annotations += [
            {"image_id": sample + 1, **entry} for entry in annotate(plan, rendered, min_visible_fraction)
        ]
    coco.write_fragment(dataset, shard, images, annotations)
