"""The whole rule: a reason for every row that does not become an instance."""

import numpy as np
import pyarrow as pa

from xpaste_ray.config import SelectSettings
from xpaste_ray.selection.columns import Columns, kept_columns, read_columns
from xpaste_ray.selection.duplicates import Embeddings, near_duplicates
from xpaste_ray.selection.limits import failed_limits
from xpaste_ray.selection.outcome import KEPT, OWN, Selection, selection_of
from xpaste_ray.selection.overlaps import covered
from xpaste_ray.selection.quota import first_of_each, in_turn

_OUTCOMES = (
    KEPT, OWN, "not_best_proposal", "low_clip_logit", "area_too_small", "area_too_large", "no_score",
    "low_real_similarity", "nsfw", "low_aesthetic", "overlap", "duplicate", "near_duplicate",
    "over_category_limit",
)  # fmt: skip
_CODES = {outcome: code for code, outcome in enumerate(_OUTCOMES)}


def select(
    scores: pa.Table, rule: SelectSettings, seed: int = 0, embeddings: Embeddings | None = None
) -> Selection:
    """Decide every proposal and every candidate of a table with the columns `columns_of(rule)`, whole
    columns at a time.

    Rows may stand in any order; only `overlaps` counts a candidate's rows as they stand. embeddings: needed
    for `max_duplicate_cosine`. What is kept has the columns `kept_columns(rule)`. SchemaError for a missing
    column.
    """
    columns = read_columns(scores, rule)
    codes = decide(columns, scores, rule, seed, embeddings)
    return selection_of(columns, scores, kept_columns(rule), codes, _OUTCOMES)


def kept_rows(
    columns: Columns, scores: pa.Table, rule: SelectSettings, seed: int, embeddings: Embeddings | None
) -> np.ndarray:
    """The numbers of the rows that `select` keeps, ascending."""
    return np.flatnonzero(decide(columns, scores, rule, seed, embeddings) == _CODES[KEPT])


def decide(
    columns: Columns, scores: pa.Table, rule: SelectSettings, seed: int, embeddings: Embeddings | None
) -> np.ndarray:
    """(N,) uint8: the place in `_OUTCOMES` of what becomes of each row.

    First what a row decides alone, then what it loses to better ones: of its candidate, then of its category.
    """
    codes = np.where(columns.usable, _CODES[KEPT], _CODES[OWN]).astype(np.uint8)
    for reason, failed in failed_limits(columns, scores, rule):
        codes[(codes == _CODES[KEPT]) & failed] = _CODES[reason]
    if rule.proposals == "many":
        passing, most = codes == _CODES[KEPT], (rule.max_overlap_iou, rule.max_containment)
        for reason, rows in covered(columns, scores["overlaps"], passing, *most):
            codes[rows] = _CODES[reason]
    if rule.max_duplicate_cosine is not None:
        if embeddings is None:
            raise ValueError("select.max_duplicate_cosine needs embeddings")
        rows = np.flatnonzero(codes == _CODES[KEPT])
        codes[near_duplicates(columns, rows, rule.max_duplicate_cosine, embeddings)] = _CODES[
            "near_duplicate"
        ]
    if rule.max_per_category is not None:
        rows = in_turn(columns, scores, np.flatnonzero(codes == _CODES[KEPT]), rule, seed)
        taken = first_of_each(columns.category[rows], rule.max_per_category)
        codes[rows[~taken]] = _CODES["over_category_limit"]
    return codes
