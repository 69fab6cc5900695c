"""Counts at other bars are those of selecting there."""

import numpy as np
import pytest

from tests.selection.tables import row, rule, table
from xpaste_ray.selection import select, sweep

BARS = (0, 19, 20.5, 22, 24, 26, 40)


def _rows(count=60, methods=("m", "n", "o")):
    """Candidates of 4 categories and 2 sources; the fourth has only low scores, the third only failures."""
    rng = np.random.default_rng(3)
    for i in range(count):
        category = i % 4
        for place, method in enumerate(methods):
            logit = round(rng.normal(23 if category < 3 else 15, 3), 1)
            overlaps = [{"place": p, "iou": rng.uniform(), "contained": rng.uniform()} for p in range(place)]
            yield row(
                f"k{i}", logit, category, method, index=i // 4, source=f"s{i % 3 % 2}",
                area_fraction=rng.uniform(0, 1), overlaps=overlaps,
                reason="empty_mask" if category == 2 else None,
            )  # fmt: skip


def test_counts_by_hand():
    """Three candidates of s, at 20, 22 and 30, and one of t at 10 that is the best of its category."""
    rows = [row(name, logit, source="s") for name, logit in (("a", 20), ("b", 22), ("c", 30))]
    swept = sweep(table(*rows, row("d", 10, category=2, source="t")), rule(), [19, 20, 20.5, 29.5])
    assert swept.made == {"s": 3, "t": 1}
    assert swept.kept == {"s": (3, 3, 2, 1), "t": (1, 1, 1, 1)}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"tolerance": 0}, id="no-tolerance"),
        pytest.param({"proposals": "many"}, id="many"),
        pytest.param({"max_per_category": 4}, id="best"),
        pytest.param({"max_per_category": 4, "pick": "random", "proposals": "many"}, id="random"),
        pytest.param({"max_duplicate_cosine": 0.7, "max_per_category": 6}, id="distinct"),
    ],
)
def test_every_bar_keeps_what_selecting_there_keeps(changes):
    scores = table(*_rows())
    vectors = np.random.default_rng(1).normal(size=(scores.num_rows, 3))
    given = {"seed": 5, "embeddings": lambda rows: vectors[rows]}
    swept = sweep(scores, rule(**changes), BARS, **given)
    for place, bar in enumerate(BARS):
        kept = select(scores, rule(**changes, min_clip_logit=bar), **given).kept["candidate_id"].to_pylist()
        sources = [f"s{int(name[1:]) % 3 % 2}" for name in kept]
        assert {name: swept.kept[name][place] for name in swept.made} == {
            name: sources.count(name) for name in swept.made
        }
    made = 180 if changes.get("proposals") == "many" else 60
    assert sum(swept.made.values()) == made
    assert len({sum(counts) for counts in zip(*swept.kept.values(), strict=True)}) > 1
