"""Score tables by hand."""

import pyarrow as pa

from xpaste_ray.config import SelectSettings
from xpaste_ray.records import SCORES
from xpaste_ray.selection import select


def rule(**changes):
    usual = {"min_clip_logit": 21, "tolerance": 1, "min_area_fraction": 0.05, "max_area_fraction": 0.95}
    return SelectSettings(**usual | changes)


def row(candidate, logit, category=1, method="m", **more):
    """A proposal; without a method a candidate that has none; with a reason a rejected one."""
    reason = more.pop("reason", None)
    values = {
        "round": 0, "unit": 0, "candidate_id": candidate, "category_id": category,
        "category": f"c{category}", "index": 0, "source": "hand", "transient": False,
        "candidate_status": "ok" if method else "rejected", "candidate_reason": None if method else reason,
        "method": method, "ordinal": 0 if method else None,
        "status": ("rejected" if reason else "ok") if method else None,
        "reason": reason if method else None, "area_fraction": 0.5, "clip_logit": logit,
    }  # fmt: skip
    return values | more


def table(*rows):
    return pa.Table.from_pylist(list(rows), schema=SCORES)


def outcome(rows, settings, **given):
    """Ids of the kept instances in order, and the reason of everything else by kind and id."""
    selection = select(table(*rows), settings, **given)
    kept = [f"{r['candidate_id']}-{r['method']}-{r['ordinal']}" for r in selection.kept.to_pylist()]
    return kept, {(r["kind"], r["id"]): r["reason"] for r in selection.rejects.to_pylist()}


def check_balance(selection):
    """kept + rejected = made, for proposals and for candidates."""
    kinds = selection.rejects["kind"].to_pylist()
    assert selection.kept.num_rows + kinds.count("proposal") == selection.proposals
    kept = len(set(selection.kept["candidate_id"].to_pylist()))
    assert kept + kinds.count("candidate") == selection.candidates
    ids = list(zip(kinds, selection.rejects["id"].to_pylist(), strict=True))
    assert len(ids) == len(set(ids))
