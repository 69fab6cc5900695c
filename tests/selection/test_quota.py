"""At most K a category."""

import numpy as np

from tests.selection.tables import outcome, row, rule


def _rows(count, category=1):
    """k00, k01, ... the later the better."""
    return [row(f"k{i:02}-{category}", 30 + i, category, index=i) for i in range(count)]


def test_the_best_of_each_category_are_taken():
    rows = [*_rows(4), *_rows(1, category=2)]
    kept, rejected = outcome(rows, rule(max_per_category=2))
    assert kept == ["k02-1-m-0", "k03-1-m-0", "k00-2-m-0"]
    assert set(rejected.values()) == {"over_category_limit"} and len(rejected) == 4


def test_of_equals_the_first_method_then_ordinal_then_id_is_taken():
    rows = [row("b", 30), row("a", 30), row("c", 30, method="l", ordinal=1), row("d", 30, method="l")]
    taken = [set(outcome(rows, rule(max_per_category=k))[0]) for k in (1, 2, 3)]
    assert taken[0] == {"d-l-0"} and taken[1] - taken[0] == {"c-l-1"} and taken[2] - taken[1] == {"a-m-0"}


def test_a_random_choice_follows_from_the_seed_and_each_identity():
    """Other rows, other scores and another order change nothing among those that stay."""
    rows, settings = _rows(20), rule(max_per_category=5, pick="random")
    kept = outcome(rows, settings)[0]
    assert len(kept) == 5 and kept != outcome(rows, settings, seed=1)[0]
    assert kept != outcome(rows, rule(max_per_category=5))[0]
    order = np.random.default_rng(0).permutation(20)
    assert outcome([rows[i] | {"clip_logit": 40.0 - i} for i in order], settings)[0] == kept
    fewer = [one for one in rows if f"{one['candidate_id']}-m-0" != kept[0]]
    assert set(kept[1:]) < set(outcome(fewer, settings)[0])


def test_every_candidate_is_as_likely_as_another():
    """Each of ten is among the three in about 0.3 of 200 seeds: 60, with a deviation of 6.5."""
    rows, settings = _rows(10), rule(max_per_category=3, pick="random")
    counts = dict.fromkeys((f"k{i:02}-1-m-0" for i in range(10)), 0)
    for seed in range(200):
        for name in outcome(rows, settings, seed=seed)[0]:
            counts[name] += 1
    assert sum(counts.values()) == 600 and min(counts.values()) > 35 and max(counts.values()) < 85
