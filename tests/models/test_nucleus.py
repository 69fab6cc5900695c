import numpy as np
import pytest

from xpaste_ray.models.nucleus import pick_token

LOGITS = np.log(np.array([0.1, 0.5, 0.3, 0.1]))


@pytest.mark.parametrize(
    ("number", "token"),
    [(0.0, 1), (0.624, 1), (0.626, 2), (0.999999, 2)],  # 0.5 of 0.8, then 0.3
)
def test_number_falls_on_the_likeliest_that_reach_top_p(number, token):
    assert pick_token(LOGITS, number, top_p=0.8) == token


def test_token_that_reaches_top_p_is_among_them():
    assert {pick_token(LOGITS, number, top_p=0.81) for number in np.linspace(0, 0.999, 100)} == {0, 1, 2}


def test_all_tokens_come_in_their_proportion():
    picked = [pick_token(LOGITS, (i + 0.5) / 1000, top_p=1.0) for i in range(1000)]
    assert np.bincount(picked).tolist() == [100, 500, 300, 100]


def test_banned_token_is_never_taken():
    assert pick_token(LOGITS, 0.0, top_p=0.1, banned=[1]) == 2


def test_repetition_makes_a_token_less_likely_on_either_side_of_zero():
    assert pick_token(np.array([2.0, 1.9]), 0.0, top_p=0.1, earlier=[0, 0], repetition_penalty=1.1) == 1
    assert pick_token(np.array([-1.9, -2.0]), 0.0, top_p=0.1, earlier=[0], repetition_penalty=1.1) == 1


def test_logits_are_not_changed():
    logits = LOGITS.copy()
    pick_token(logits, 0.5, top_p=0.9, earlier=[1], repetition_penalty=2.0, banned=[0])
    assert (logits == LOGITS).all()
