"""LVIS's image-level category lists after pasting.

LVIS is annotated by category: of an image it is known which categories it shows (all their instances
annotated, but for `not_exhaustive_category_ids`), which it does not show (`neg_category_ids`), and
nothing of all others. Evaluation counts a detection as false only for the categories it knows of.
"""

from collections.abc import Iterable, Set

from xpaste_ray.backgrounds import Backgrounds
from xpaste_ray.samples import Annotation

CategoryIds = tuple[int, ...] | None


def federated_lists(
    backgrounds: Backgrounds, row: int, annotations: Iterable[Annotation], remnants: Set[int]
) -> tuple[CategoryIds, CategoryIds]:
    """(neg, not exhaustive) of the composed image; (None, None) if the background is not LVIS's.

    annotations: all of the composed image. remnants: categories of which something can be seen without
    an annotation. A category that is pasted into the image is no longer absent. Where it was known to
    be absent, all its instances are annotated now; where nothing was known of it, the background may
    show others, so it is not exhaustive. Neither is one of which a remnant is left.
    """
    if not backgrounds.is_lvis:
        return None, None
    neg, not_exhaustive = backgrounds.neg_category_ids(row), backgrounds.not_exhaustive_category_ids(row)
    if neg is None or not_exhaustive is None:
        return None, None
    known = set(neg) | set(backgrounds.present_category_ids(row).tolist())
    shown = {annotation.category_id for annotation in annotations}
    uncertain = set(not_exhaustive) | (shown - known) | remnants
    absent = set(neg) - shown - remnants
    return tuple(sorted(absent)), tuple(sorted(uncertain))
