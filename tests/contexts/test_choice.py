import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xpaste_ray.config.contexts import ContextSelectSettings
from xpaste_ray.contexts.choice import KEPT, LOW_CAPTION_LOGIT, SHOWS_TARGET, Columns, choose, rank_in_group


def columns(caption, caption_logit, class_logit=None, usable=None):
    count = len(caption)
    return Columns(
        np.array(caption),
        np.array(caption_logit, np.float32),
        np.array(class_logit or [0] * count, np.float32),
        np.array(usable or [True] * count),
    )


def test_top_keeps_the_best_of_each_caption():
    told = choose(columns([0, 0, 0, 1], [20, 25, 22, 1]), ContextSelectSettings(keep=2))
    assert told == [LOW_CAPTION_LOGIT, KEPT, KEPT, KEPT]


def test_two_sided_first_drops_what_shows_targets():
    """Of four images the one with the highest class score goes first, though it fits the caption best."""
    rule = ContextSelectSettings(rule="two-sided", pure=0.75, keep=2)
    told = choose(columns([5] * 4, [30, 20, 21, 22], [29, 10, 11, 12]), rule)
    assert told == [SHOWS_TARGET, LOW_CAPTION_LOGIT, KEPT, KEPT]


def test_two_sided_as_the_authors_code_keeps_the_best_half_of_the_purest():
    """60, then 30, of 80: the 60 are those with the lowest class score, the 30 the best of them."""
    rng = np.random.default_rng(0)
    caption, classes = rng.permutation(80) / 4, rng.permutation(80) / 4
    rule = ContextSelectSettings(rule="two-sided", pure=60 / 80, keep=30)
    told = choose(columns([0] * 80, caption, list(classes)), rule)
    pure = np.argsort(classes)[:60]
    best = pure[np.argsort(-caption[pure])[:30]]
    assert {i for i, outcome in enumerate(told) if outcome == KEPT} == set(best.tolist())
    assert told.count(SHOWS_TARGET) == 20


def test_unusable_images_are_left_alone_and_take_no_place():
    told = choose(columns([0, 0, 0], [9, 9, 1], usable=[False, True, True]), ContextSelectSettings(keep=1))
    assert told == ["", KEPT, LOW_CAPTION_LOGIT]


def test_of_equal_scores_the_earlier_image_is_kept():
    assert choose(columns([0, 0], [7, 7]), ContextSelectSettings(keep=1)) == [KEPT, LOW_CAPTION_LOGIT]


def test_no_image_at_all():
    assert choose(columns([], []), ContextSelectSettings(rule="two-sided")) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=30))
def test_rank_counts_those_of_the_group_that_are_lower_or_earlier(rows):
    groups, values = (np.array(column, int) for column in (zip(*rows, strict=True) if rows else ((), ())))
    for row, place in enumerate(rank_in_group(groups, values)):
        lower = [(values[i], i) < (values[row], row) for i in np.flatnonzero(groups == groups[row])]
        assert place == sum(lower)
