"""LVIS's image-level category lists after pasting.

LVIS is annotated by category: of an image it is known which categories it shows (all their instances
annotated, but for `not_exhaustive_category_ids`), which it does not show (`neg_category_ids`), and
nothing of all others. Evaluation counts a detection as false only for the categories it knows of.
"""

from collections.abc import Iterable, Set

from xpaste_ray.backgrounds import AnyBackgrounds
from xpaste_ray.samples import Annotation

CategoryIds = tuple[int, ...]


def federated_lists(
    backgrounds: AnyBackgrounds, row: int, annotations: Iterable[Annotation], remnants: Set[int]
) -> tuple[CategoryIds | None, CategoryIds]:
    """(neg, not exhaustive) of the composed image; neg is None if the background is not LVIS's.

    annotations: all of the composed image. remnants: categories of which something can be seen without
    an annotation; those of the background's annotations that could not be used belong to them. A
    category that is shown or left as a remnant is no longer absent. It is exhaustively annotated only
    if all objects of it in the background are known, and no remnant is left.
    """
    shown = {annotation.category_id for annotation in annotations}
    if not backgrounds.is_labelled(row):  # a photograph may show anything, a constant colour shows nothing
        return None, tuple(sorted(remnants if backgrounds.is_blank(row) else remnants | shown))
    remnants = remnants | set(backgrounds.rejected_category_ids(row))
    neg = backgrounds.neg_category_ids(row)
    doubtful = set(backgrounds.not_exhaustive_category_ids(row) or ())
    uncertain = doubtful | remnants | (shown - _known(backgrounds, row))
    absent = None if neg is None else tuple(sorted(set(neg) - shown - remnants))
    return absent, tuple(sorted(uncertain))


def _known(backgrounds: AnyBackgrounds, row: int) -> Set[int]:
    """Categories of which the background's objects are annotated, as far as the dataset says.

    LVIS: those that the image was looked through for. COCO: all of the dataset's.
    """
    if not backgrounds.is_lvis:
        return backgrounds.category_ids
    return {*(backgrounds.neg_category_ids(row) or ()), *backgrounds.present_category_ids(row).tolist()}
