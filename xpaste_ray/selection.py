"""Which proposals become instances: a pure rule over score columns, never over pixels.

Source: X-Paste's clean_pool. For each category, bar = min(min_clip_logit, best logit of the
category - tolerance); a candidate's best proposal is kept iff its logit reaches the bar and its
area lies within the limits. Where this leaves the paper's code: a failed candidate has no score and
never passes, whatever the bar; ties go to the first method by name, then to the lower ordinal.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.config import SelectSettings
from xpaste_ray.records import REJECTS, SCORES, check_schema, instance_ids


@dataclass(frozen=True, slots=True)
class Selection:
    """kept: rows of `SCORES` that become instances, in pool order. rejects: rows of `REJECTS`."""

    kept: pa.Table
    rejects: pa.Table
    candidates: int
    proposals: int


def select(scores: pa.Table, rule: SelectSettings) -> Selection:
    """Decide every proposal and every candidate of a `SCORES` table, whole columns at a time.

    One proposal of a candidate is kept at most. For both kinds kept + rejected = made.
    """
    check_schema(scores.schema, SCORES, "select")
    scores = scores.sort_by(
        [(name, "ascending") for name in ("category_id", "index", "candidate_id", "method", "ordinal")]
    )
    logits = scores["clip_logit"].to_numpy().astype(np.float64)
    usable = pc.equal(scores["status"], "ok").fill_null(False).to_numpy() & np.isfinite(logits)
    logits = np.where(usable, logits, -np.inf)
    best = _is_best(scores["candidate_id"], logits)
    reasons = _reasons(scores, logits, best, rule)
    kept = scores.filter(pc.is_null(reasons))
    proposals = pc.sum(pc.is_valid(scores["method"])).as_py() or 0
    return Selection(kept, _rejects(scores, reasons, best), int(best.sum()), proposals)


def _reasons(scores: pa.Table, logits: np.ndarray, best: np.ndarray, rule: SelectSettings) -> pa.ChunkedArray:
    """Why each row is not kept, or null. `logits` is -inf where a row has no usable score: its reason is
    the one that it brought along, or "no_score"."""
    areas = scores["area_fraction"].to_numpy().astype(np.float64)
    bar = _bars(scores["category_id"].to_numpy(), logits, rule)
    tests = {  # the first that holds is the reason
        "not_best_proposal": ~best,
        "low_clip_logit": logits < bar,
        "area_too_small": areas < rule.min_area_fraction,
        "area_too_large": areas > rule.max_area_fraction,
    }
    decided = pc.case_when(pc.make_struct(*map(pa.array, tests.values())), *map(pa.scalar, tests))
    own = pc.coalesce(scores["reason"], scores["candidate_reason"], pa.scalar("no_score"))
    return pc.if_else(pa.chunked_array([np.isfinite(logits)]), decided, own)


def _bars(category_ids: np.ndarray, logits: np.ndarray, rule: SelectSettings) -> np.ndarray:
    """The bar of each row's category; rows without a score (-inf) do not lower it."""
    _, group = np.unique(category_ids, return_inverse=True)
    best = np.full(group.max(initial=-1) + 1, -np.inf)
    np.maximum.at(best, group, logits)
    bar: np.ndarray = np.minimum(rule.min_clip_logit, best - rule.tolerance)[group]
    return bar


def _is_best(candidate_ids: pa.ChunkedArray, logits: np.ndarray) -> np.ndarray:
    """Whether a row holds the highest logit of its candidate; the first of equals, in row order."""
    group = candidate_ids.combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((-logits, group))  # stable: equals stay in row order
    _, first = np.unique(group[order], return_index=True)
    best = np.zeros(len(group), bool)
    best[order[first]] = True
    return best


def _rejects(scores: pa.Table, reasons: pa.ChunkedArray, best: np.ndarray) -> pa.Table:
    """Rows of `REJECTS`: proposals with their own reason, each followed by its candidate, with that of the
    candidate's best row."""
    rejected = pc.is_valid(reasons).to_numpy()
    proposals = np.flatnonzero(rejected & pc.is_valid(scores["method"]).to_numpy())
    candidates = np.flatnonzero(rejected & best)

    def part(kind: str, ids: pa.ChunkedArray, rows: np.ndarray) -> pa.Table:
        columns = [pa.repeat(kind, len(rows)), *(c.take(rows) for c in (ids, scores["category"], reasons))]
        return pa.table(columns, schema=REJECTS)

    ids = instance_ids(scores["candidate_id"], scores["method"], scores["ordinal"])
    both = [part("proposal", ids, proposals), part("candidate", scores["candidate_id"], candidates)]
    order = np.argsort(np.concatenate([proposals, candidates]), kind="stable")
    return pa.concat_tables(both).take(order)
