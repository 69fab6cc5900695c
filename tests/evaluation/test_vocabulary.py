"""A detector's categories against a truth's."""

import pytest

from xpaste_ray.categories import Category
from xpaste_ray.errors import ConfigError
from xpaste_ray.evaluation.vocabulary import Unshared, match_categories

VAL = (Category(1, "cat"), Category(18, "hot dog"))


@pytest.mark.parametrize(
    ("known", "unshared"),
    [
        pytest.param([(18, "Hot_Dog"), (1, "cat")], Unshared((), ()), id="the-same"),
        pytest.param([(1, "cat")], Unshared(("hot dog",), ()), id="val-has-more"),
        pytest.param([(1, "cat"), (2, "cup"), (18, "hot dog")], Unshared((), ("cup",)), id="detector-more"),
    ],
)
def test_one_may_have_more_than_the_other(known, unshared):
    assert match_categories(known, VAL) == unshared


@pytest.mark.parametrize(
    ("known", "message"),
    [
        pytest.param([(1, "lion"), (18, "hot dog")], "category 1 is 'cat' there and 'lion'", id="name"),
        pytest.param([(1, "cat"), (2, "hot dog")], "'hot dog' is category 18 there and 2", id="id"),
        pytest.param([(1, "cat"), (2, "cup")], "not know 'hot dog', and 'cup' of the detector", id="both"),
    ],
)
def test_mismatch_is_refused_by_name(known, message):
    with pytest.raises(ConfigError, match=f"--val: .*{message}"):
        match_categories(known, VAL)


def test_long_lists_are_cut():
    with pytest.raises(ConfigError, match="'cup 2', 'cup 3', 'cup 4', 'cup 5', 'cup 6' and 3 more"):
        match_categories([(1, "cat"), *((number, f"cup {number}") for number in range(2, 10))], VAL)
