"""Finding what a plan names. A plan is data: it may be rendered with a pool or backgrounds of others."""

from xpaste_ray.backgrounds import AnyBackgrounds, BackgroundAnnotation
from xpaste_ray.compose.plan import Copied, PastePlan, View
from xpaste_ray.compose.views import copied_annotations
from xpaste_ray.errors import ConfigError
from xpaste_ray.pool import Pool


def instance_row(plan: PastePlan, instance_id: str, pool: Pool | None) -> tuple[Pool, int]:
    """The pool, and its row of an instance of the plan. ConfigError if it has none."""
    row = None if pool is None else pool.row_of_id.get(instance_id)
    if pool is None or row is None:
        where = "no pool was given" if pool is None else f"{pool.folder} does not have it"
        raise ConfigError(
            f"the plan of sample {plan.sample} asks for instance {instance_id}, and {where}: render it with "
            "the pool that it was planned with"
        )
    return pool, row


def background_row(plan: PastePlan, background_id: str, view: View, backgrounds: AnyBackgrounds) -> int:
    """The row of the plan's own background, or of the one that it copies from.

    ConfigError if there is none of that id, or if it is too small for the view.
    """
    try:
        row = backgrounds.row_of_id(background_id)
    except KeyError:
        raise _other_backgrounds(
            plan, f"asks for background {background_id}, which these do not have"
        ) from None
    left, top, width, height = view.crop_xywh
    size_hw = backgrounds.size_hw(row)
    if top + height > size_hw[0] or left + width > size_hw[1]:
        found = f"which has {size_hw[1]} x {size_hw[0]} px here"
        wanted = f"{left + width} x {top + height} px of background {background_id}"
        raise _other_backgrounds(plan, f"shows {wanted}, {found}")
    return row


def copied_objects(
    plan: PastePlan, copied: Copied, backgrounds: AnyBackgrounds
) -> tuple[BackgroundAnnotation, ...]:
    """The annotations that the plan copies, in their own order. ConfigError if one is not there."""
    background_row(plan, copied.background_id, copied.view, backgrounds)
    found = copied_annotations(copied, backgrounds)
    missing = sorted(set(copied.annotation_ids) - {annotation.id for annotation in found})
    if missing:
        what = f"copies annotations {missing} of background {copied.background_id}"
        raise _other_backgrounds(plan, f"{what}, which it does not have here")
    return found


def _other_backgrounds(plan: PastePlan, what: str) -> ConfigError:
    return ConfigError(
        f"the plan of sample {plan.sample} {what}: render it with the backgrounds that it was planned with"
    )
