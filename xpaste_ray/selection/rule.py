"""The whole rule: a reason for every row that does not become an instance."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.config import SelectSettings
from xpaste_ray.records import REJECTS
from xpaste_ray.selection.columns import Columns, kept_columns, read_columns
from xpaste_ray.selection.duplicates import Embeddings, near_duplicates
from xpaste_ray.selection.limits import failed_limits, is_best
from xpaste_ray.selection.overlaps import covered
from xpaste_ray.selection.quota import first_of_each, in_turn

KEPT = "kept"
_OWN = "own"  # it brought its reason along
_OUTCOMES = (
    KEPT, _OWN, "not_best_proposal", "low_clip_logit", "area_too_small", "area_too_large", "no_score",
    "low_real_similarity", "nsfw", "low_aesthetic", "overlap", "duplicate", "near_duplicate",
    "over_category_limit",
)  # fmt: skip
_CODES = {outcome: code for code, outcome in enumerate(_OUTCOMES)}


@dataclass(frozen=True, slots=True)
class Selection:
    """kept: the rows that become instances, in pool order, with the columns `kept_columns(rule)`. rejects:
    rows of `REJECTS`. candidates, proposals: how many were decided on.

    For proposals kept + rejected = made; so it is for candidates, of which one is kept if any proposal of
    it is.
    """

    kept: pa.Table
    rejects: pa.Table
    candidates: int
    proposals: int


def select(
    scores: pa.Table, rule: SelectSettings, seed: int = 0, embeddings: Embeddings | None = None
) -> Selection:
    """Decide every proposal and every candidate of a table with the columns `columns_of(rule)`, whole
    columns at a time.

    Rows may stand in any order; only `overlaps` counts a candidate's rows as they stand. embeddings: needed
    for `max_duplicate_cosine`. SchemaError for a missing column.
    """
    columns = read_columns(scores, rule)
    codes = decide(columns, scores, rule, seed, embeddings)
    order = columns.pool_order()
    kept = scores.select(kept_columns(rule)).take(pa.array(order[codes[order] == _CODES[KEPT]]))
    proposals = int(np.count_nonzero(columns.place >= 0))
    return Selection(kept, _rejects(scores, columns, codes, order), columns.candidates, proposals)


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
    codes = np.where(columns.usable, _CODES[KEPT], _CODES[_OWN]).astype(np.uint8)
    for reason, failed in failed_limits(columns, scores, rule):
        codes[(codes == _CODES[KEPT]) & failed] = _CODES[reason]
    if rule.proposals == "many":
        for reason, rows in covered(columns, scores["overlaps"], codes == _CODES[KEPT], rule):
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


def _rejects(scores: pa.Table, columns: Columns, codes: np.ndarray, order: np.ndarray) -> pa.Table:
    """Rows of `REJECTS`, in pool order: proposals with their own reason, each followed by its candidate, with
    that of the candidate's best row, if none of the candidate's rows is kept."""
    rejected = codes != _CODES[KEPT]
    has_kept = np.zeros(columns.candidates, bool)
    has_kept[columns.candidate[~rejected]] = True
    as_proposal = (rejected & (columns.place >= 0))[order]
    as_candidate = (is_best(columns) & ~has_kept[columns.candidate])[order]
    rows = np.repeat(order, as_proposal.astype(np.int8) + as_candidate)
    is_candidate = _seconds(as_proposal, as_candidate)

    kinds = pa.DictionaryArray.from_arrays(is_candidate.astype(np.int8), ["proposal", "candidate"])
    taken = {
        name: scores[name].take(pa.array(rows)) for name in ("candidate_id", "method", "ordinal", "category")
    }
    no_text = pa.scalar(None, pa.string())
    tail = [pc.if_else(is_candidate, no_text, taken[n].cast(pa.string())) for n in ("method", "ordinal")]
    ids = pc.binary_join_element_wise(taken["candidate_id"], *tail, "-", null_handling="skip")
    reasons = _reasons(scores, codes).take(pa.array(rows)).cast(pa.string())
    return pa.table([kinds.cast(pa.string()), ids, taken["category"], reasons], schema=REJECTS)


def _seconds(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(sum of both,) bool: of rows that are told as the first, as the second, or as both, which is which."""
    both = np.stack([first, second], axis=1)
    kinds: np.ndarray = np.broadcast_to(np.array([False, True]), both.shape)[both]
    return kinds


def _reasons(scores: pa.Table, codes: np.ndarray) -> pa.DictionaryArray:
    """Why each row is not kept."""
    own = pc.coalesce(scores["reason"], scores["candidate_reason"], pa.scalar("no_score"))
    brought = pc.dictionary_encode(own.combine_chunks())
    places = np.where(codes == _CODES[_OWN], len(_OUTCOMES) + brought.indices.to_numpy(), codes)
    return pa.DictionaryArray.from_arrays(
        places.astype(np.int32), pa.concat_arrays([pa.array(_OUTCOMES, pa.string()), brought.dictionary])
    )
