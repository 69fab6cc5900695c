"""What is known to be absent: LVIS's rules for a loss (Gupta et al. 2019; Zhou et al. 2021)."""

from collections.abc import Sequence

import numpy as np

from xpaste_ray.samples import Sample


def absent_where_unlabelled(sample: Sample, category_ids: Sequence[int]) -> np.ndarray:
    """(C,) bool: whether every object of the category is labelled in the sample, so that it is known to be
    absent everywhere else.

    Of LVIS's images that is so for categories that were looked for, those it shows and those of its `neg`
    set, but for the not exhaustively annotated ones; of all others nothing is known. Of other images, which
    have no `neg` set, it is so for all but the not exhaustively annotated ones.
    """
    ids = np.asarray(category_ids)
    uncertain = np.isin(ids, sample.not_exhaustive_category_ids or ())
    if sample.neg_category_ids is None:
        return ~uncertain
    shown = [annotation.category_id for annotation in sample.annotations]
    return np.isin(ids, [*sample.neg_category_ids, *shown]) & ~uncertain
