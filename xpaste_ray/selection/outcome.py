"""What became of the rows of a score table: instances, and rejects with their reasons."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.records import REJECTS
from xpaste_ray.selection.columns import Columns
from xpaste_ray.selection.limits import is_best

KEPT = "kept"
OWN = "own"  # it brought its reason along
_KEPT, _OWN = 0, 1


@dataclass(frozen=True, slots=True)
class Selection:
    """kept: the rows that become instances, in pool order. rejects: rows of `REJECTS`. candidates, proposals:
    how many were decided on.

    For proposals kept + rejected = made; so it is for candidates, of which one is kept if any proposal of
    it is.
    """

    kept: pa.Table
    rejects: pa.Table
    candidates: int
    proposals: int


def selection_of(
    columns: Columns, scores: pa.Table, passed_on: Sequence[str], codes: np.ndarray, outcomes: Sequence[str]
) -> Selection:
    """codes: (N,) the place of each row's outcome in `outcomes`, of which the first are KEPT and OWN.
    passed_on: the columns of `scores` that kept rows have."""
    order = columns.pool_order()
    kept = scores.select(list(passed_on)).take(pa.array(order[codes[order] == _KEPT]))
    proposals = int(np.count_nonzero(columns.place >= 0))
    rejects = _rejects(scores, columns, codes, outcomes, order)
    return Selection(kept, rejects, columns.candidates, proposals)


def _rejects(
    scores: pa.Table, columns: Columns, codes: np.ndarray, outcomes: Sequence[str], order: np.ndarray
) -> pa.Table:
    """Rows of `REJECTS`, in pool order: proposals with their own reason, each followed by its candidate, with
    that of the candidate's best row, if none of the candidate's rows is kept."""
    rejected = codes != _KEPT
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
    reasons = _reasons(scores, codes, outcomes).take(pa.array(rows)).cast(pa.string())
    return pa.table([kinds.cast(pa.string()), ids, taken["category"], reasons], schema=REJECTS)


def _seconds(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(sum of both,) bool: of rows that are told as the first, as the second, or as both, which is which."""
    both = np.stack([first, second], axis=1)
    kinds: np.ndarray = np.broadcast_to(np.array([False, True]), both.shape)[both]
    return kinds


def _reasons(scores: pa.Table, codes: np.ndarray, outcomes: Sequence[str]) -> pa.DictionaryArray:
    """Why each row is not kept."""
    own = pc.coalesce(scores["reason"], scores["candidate_reason"], pa.scalar("no_score"))
    brought = pc.dictionary_encode(own.combine_chunks())
    places = np.where(codes == _OWN, len(outcomes) + brought.indices.to_numpy(), codes)
    return pa.DictionaryArray.from_arrays(
        places.astype(np.int32), pa.concat_arrays([pa.array(outcomes, pa.string()), brought.dictionary])
    )
