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
from xpaste_ray.records import REJECTS, SCORES, check_schema, instance_id


@dataclass(frozen=True, slots=True)
class Selection:
    """kept: rows of `SCORES` that become instances, in pool order. rejects: rows of `REJECTS`."""

    kept: pa.Table
    rejects: pa.Table
    candidates: int
    proposals: int


def select(scores: pa.Table, rule: SelectSettings) -> Selection:
    """Decide every proposal and every candidate of a `SCORES` table.

    One proposal of a candidate is kept at most. For both kinds kept + rejected = made.
    """
    check_schema(scores.schema, SCORES, "select")
    scores = scores.sort_by(
        [(name, "ascending") for name in ("category_id", "index", "candidate_id", "method", "ordinal")]
    )
    logits = scores["clip_logit"].to_numpy(zero_copy_only=False).astype(np.float64)
    usable = pc.equal(scores["status"], "ok").fill_null(False).to_numpy() & np.isfinite(logits)
    logits = np.where(usable, logits, -np.inf)
    best = _is_best(scores["candidate_id"].to_pylist(), logits)
    reasons = _reasons(scores, logits, best, rule)
    kept = scores.filter(pa.array([reason is None for reason in reasons], pa.bool_()))
    proposals = pc.sum(pc.is_valid(scores["method"])).as_py() or 0
    return Selection(kept, _rejects(scores, reasons, best), int(best.sum()), proposals)


def _reasons(
    scores: pa.Table, logits: np.ndarray, best: np.ndarray, rule: SelectSettings
) -> list[str | None]:
    """Why each row is not kept, or None. `logits` is -inf where a row has no usable score."""
    areas = scores["area_fraction"].to_numpy(zero_copy_only=False).astype(np.float64)
    bar = _bars(scores["category_id"].to_numpy(), logits, rule)
    reasons = _own_reasons(scores)
    for row in np.flatnonzero(np.isfinite(logits)):
        if not best[row]:
            reasons[row] = "not_best_proposal"
        elif logits[row] < bar[row]:
            reasons[row] = "low_clip_logit"
        elif areas[row] < rule.min_area_fraction:
            reasons[row] = "area_too_small"
        elif areas[row] > rule.max_area_fraction:
            reasons[row] = "area_too_large"
        else:
            reasons[row] = None
    return reasons


def _own_reasons(scores: pa.Table) -> list[str | None]:
    """The reason that the row brought along; "no_score" for an unscored row without one."""
    own = pc.coalesce(scores["reason"], scores["candidate_reason"], pa.scalar("no_score"))
    reasons: list[str | None] = own.to_pylist()
    return reasons


def _bars(category_ids: np.ndarray, logits: np.ndarray, rule: SelectSettings) -> np.ndarray:
    """The bar of each row's category; rows without a score (-inf) do not lower it."""
    _, group = np.unique(category_ids, return_inverse=True)
    best = np.full(group.max(initial=-1) + 1, -np.inf)
    np.maximum.at(best, group, logits)
    bar: np.ndarray = np.minimum(rule.min_clip_logit, best - rule.tolerance)[group]
    return bar


def _is_best(candidate_ids: list[str], logits: np.ndarray) -> np.ndarray:
    """Whether a row holds the highest logit of its candidate; the first of equals, in row order."""
    winner: dict[str, int] = {}
    for row, candidate in enumerate(candidate_ids):
        if candidate not in winner or logits[row] > logits[winner[candidate]]:
            winner[candidate] = row
    best = np.zeros(len(candidate_ids), bool)
    best[list(winner.values())] = True
    return best


def _rejects(scores: pa.Table, reasons: list[str | None], best: np.ndarray) -> pa.Table:
    """Rows of `REJECTS`: proposals with their own reason, candidates with that of their best row."""
    rows: list[tuple[str, str, str, str]] = []
    columns = (scores[name].to_pylist() for name in ("candidate_id", "category", "method", "ordinal"))
    for candidate, category, method, ordinal, reason, is_best in zip(*columns, reasons, best, strict=True):
        if reason is None:
            continue
        if method is not None:
            rows.append(("proposal", instance_id(candidate, method, ordinal), category, reason))
        if is_best:
            rows.append(("candidate", candidate, category, reason))
    columns_of_rejects = list(zip(*rows, strict=True)) if rows else [()] * len(REJECTS)
    arrays = [pa.array(list(column), pa.string()) for column in columns_of_rejects]
    return pa.Table.from_arrays(arrays, schema=REJECTS)
