"""Near-duplicates by embedding, by hand and against a plain loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.selection.tables import outcome, row, rule
from xpaste_ray.selection import duplicates
from xpaste_ray.selection.duplicates import distinct
from xpaste_ray.selection.greedy import keep_better

DISTINCT = rule(max_duplicate_cosine=0.9)


def _turned(degrees):
    angle = np.deg2rad(degrees)
    return [np.cos(angle), np.sin(angle)]


def _embeddings(*vectors):
    """Of the rows of a table, in the table's order."""
    return lambda rows: np.array(vectors, np.float16)[rows]


def test_the_better_of_two_near_ones_stays():
    """20 degrees apart: a cosine of 0.94. The third is 40 degrees from the first: 0.77."""
    rows = [row("a", 25), row("b", 30), row("c", 26)]
    vectors = [_turned(0), _turned(20), _turned(60)]
    kept, rejected = outcome(rows, DISTINCT, embeddings=_embeddings(*vectors))
    assert kept == ["b-m-0", "c-m-0"]
    assert rejected == {("proposal", "a-m-0"): "near_duplicate", ("candidate", "a"): "near_duplicate"}


def test_what_is_near_to_a_removed_one_only_stays():
    """b is near to a, c to b, and c is not near to a."""
    rows = [row("a", 30), row("b", 29), row("c", 28)]
    vectors = [_turned(0), _turned(20), _turned(40)]
    assert outcome(rows, DISTINCT, embeddings=_embeddings(*vectors))[0] == ["a-m-0", "c-m-0"]


def test_of_equal_scores_the_first_method_then_ordinal_then_id_stays():
    same = [_turned(0)] * 2
    methods = [row("a", 30, method="sam"), row("b", 30, method="grabcut")]
    assert outcome(methods, DISTINCT, embeddings=_embeddings(*same))[0] == ["b-grabcut-0"]
    ordinals = [row("a", 30, ordinal=1), row("b", 30)]
    assert outcome(ordinals, DISTINCT, embeddings=_embeddings(*same))[0] == ["b-m-0"]
    ids = [row("b", 30), row("a", 30)]
    assert outcome(ids, DISTINCT, embeddings=_embeddings(*same))[0] == ["a-m-0"]


def test_categories_are_compared_each_by_itself():
    rows = [row("a", 30), row("b", 30, category=2)]
    assert len(outcome(rows, DISTINCT, embeddings=_embeddings([1, 0], [1, 0]))[0]) == 2


def test_only_what_passes_the_other_limits_is_asked_for_and_removes_others():
    asked = []

    def embeddings(rows):
        asked.extend(rows.tolist())
        return np.ones((len(rows), 2), np.float16)

    rows = [row("a", 30, area_fraction=0.99), row("b", 29), row("c", 5)]
    assert outcome(rows, DISTINCT, embeddings=embeddings)[0] == ["b-m-0"]
    assert asked == [1]


def test_a_row_without_an_embedding_is_near_to_nothing():
    rows = [row("a", 30), row("b", 30)]
    assert len(outcome(rows, DISTINCT, embeddings=_embeddings([0, 0], [0, 0]))[0]) == 2


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_blocks_decide_as_a_plain_loop_does(block, monkeypatch):
    """200 vectors in 4 dimensions, of which many are near each other."""
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    vectors = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kept = []
    for i in range(len(vectors)):
        if all(vectors[i].astype(float) @ vectors[j].astype(float) <= 0.9 for j in kept):
            kept.append(i)
    assert np.flatnonzero(distinct(vectors, 0.9)).tolist() == kept and 20 < len(kept) < 180


def test_a_pair_at_the_limit_is_told_by_more_than_float32():
    """Two vectors with a cosine of exactly 0.6: float32 may say a bit more or less."""
    vectors = np.array([[1, 0, 0], [0.6, 0.8, 0]], np.float32)
    exact = float(np.float32(0.6)) / np.hypot(float(np.float32(0.6)), float(np.float32(0.8)))
    assert distinct(vectors, exact).all()
    assert distinct(vectors, exact - 1e-9).tolist() == [True, False]


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda p: p[0] < p[1]), max_size=30))
def test_rounds_keep_what_a_walk_from_the_best_on_keeps(pairs):
    kept = []
    for item in range(12):
        if not any((better, item) in pairs for better in kept):
            kept.append(item)
    better, worse = np.array(pairs, int).reshape(-1, 2).T
    assert np.flatnonzero(keep_better(better, worse, 12)).tolist() == kept
