from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from tests.conftest import CATEGORIES
from tests.pool.pairs import seal_pairs
from xpaste_ray.categories import lvis_categories, pick_categories
from xpaste_ray.compose.sampling import InstanceSampler
from xpaste_ray.config import CategoryRuleSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.rng import rng_for

BANANA, FROG, LION = (category.id for category in CATEGORIES)  # LVIS frequencies f, c, c
COUNTS = {"banana": 1, "frog": 3, "lion": 6}


def _draw(pool, count=4000, present=(), draw="instance", only=(), **rule):
    sampler = InstanceSampler(pool, CategoryRuleSettings(**rule), draw, only)
    return sampler.draw(rng_for(0, "test"), count, present)


@pytest.mark.parametrize(
    ("rule", "shares"),
    [
        pytest.param({"rule": "uniform"}, (0.1, 0.3, 0.6), id="uniform-over-instances"),
        pytest.param({"rule": "balanced"}, (1 / 3, 1 / 3, 1 / 3), id="balanced"),
        pytest.param({"rule": "frequency", "weights": {"c": 2, "f": 1}}, (0.2, 0.4, 0.4), id="frequency"),
        pytest.param({"rule": "weights", "weights": {"lion": 8}}, (0.1, 0.1, 0.8), id="weights"),
    ],
)
def test_categories_are_drawn_by_the_rule(make_pool, rule, shares):
    assert [category.frequency for category in CATEGORIES] == ["f", "c", "c"]
    pool = make_pool(COUNTS)
    drawn = Counter(pool.category_id(row) for row in _draw(pool, **rule))
    assert chisquare([drawn[c] for c in (BANANA, FROG, LION)], np.array(shares) * 4000).pvalue > 1e-4


def test_rare_common_and_frequent_categories_are_drawn_by_their_weights(make_pool, monkeypatch):
    """One of each, 1 : 10 : 100 as in `xpaste-summary`; how many instances they have does not matter."""
    chosen = pick_categories(lvis_categories(), ["apricot", "banana", "frog"])
    assert [category.frequency for category in chosen] == ["r", "f", "c"]
    monkeypatch.setattr("tests.conftest.CATEGORIES", chosen)
    pool = make_pool({"apricot": 3, "frog": 1, "banana": 2})
    weights = {"r": 1, "c": 10, "f": 100}
    drawn = Counter(pool.category_id(row) for row in _draw(pool, 11_100, rule="frequency", weights=weights))
    found = [drawn[category.id] for category in chosen]
    assert chisquare(found, [100, 10_000, 1000]).pvalue > 1e-4
    none = Counter(pool.category_id(row) for row in _draw(pool, rule="frequency", weights={"r": 0}))
    assert set(none) == {category.id for category in chosen[1:]}


def test_instances_of_a_category_are_drawn_uniformly(make_pool):
    pool = make_pool(COUNTS)
    lions = Counter(row for row in _draw(pool, rule="balanced") if pool.category_id(row) == LION)
    assert len(lions) == 6 and chisquare(list(lions.values())).pvalue > 1e-4


def test_present_rule_draws_only_what_the_background_shows(make_pool):
    pool = make_pool(COUNTS)
    drawn = Counter(pool.category_id(r) for r in _draw(pool, present=[LION, BANANA, 9999], rule="present"))
    assert set(drawn) == {BANANA, LION} and chisquare(list(drawn.values())).pvalue > 1e-4


@pytest.mark.parametrize("present", [(), (9999,)])
def test_present_rule_falls_back_to_all_categories(make_pool, present):
    pool = make_pool(COUNTS)
    drawn = {pool.category_id(row) for row in _draw(pool, 200, present, rule="present")}
    assert drawn == {BANANA, FROG, LION}


def test_draws_of_nothing_are_none(make_pool):
    assert _draw(make_pool(COUNTS), 0, rule="balanced") == []


def test_source_images_are_drawn_whole(tmp_path):
    """A banana, a frog and a lion were cut from one image, another banana from another."""
    pool = seal_pairs(tmp_path, {"a": ["banana", "frog", "lion"], "b": ["banana"]})
    (alone,), whole = sorted((rows.tolist() for rows in pool.rows_by_source_image), key=len)
    assert sorted([alone, *whole]) == [0, 1, 2, 3]
    # The first image: one of two; or all frogs, all lions and half of the bananas.
    for rule, share in (("uniform", 1 / 2), ("balanced", 5 / 6)):
        drawn = _draw(pool, 4000, draw="source-image", rule=rule)
        images = "".join(map(str, drawn)).replace("".join(map(str, whole)), "a")
        assert set(images) == {"a", str(alone)} and len(images) == 4000
        assert abs(images.count("a") - 4000 * share) < 5 * np.sqrt(4000 * share * (1 - share))


def test_without_shared_images_each_instance_is_its_own(make_pool):
    pool = make_pool(COUNTS)
    assert [rows.tolist() for rows in pool.rows_by_source_image] == [[row] for row in range(10)]


@pytest.mark.parametrize(
    ("counts", "rule", "message"),
    [
        ({}, {"rule": "balanced"}, "no category can be drawn"),
        ({"lion": 1}, {"rule": "weights", "weights": {"lion": 0}}, "no category can be drawn"),
        ({"lion": 1}, {"rule": "weights", "weights": {"loin": 1}}, "did you mean 'lion'"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(make_pool, counts, rule, message):
    with pytest.raises(ConfigError, match=message):
        _draw(make_pool(counts), **rule)


@pytest.mark.parametrize(
    ("rule", "shares"),
    [
        pytest.param({"rule": "uniform"}, (1 / 4, 3 / 4), id="uniform-over-instances"),
        pytest.param({"rule": "balanced"}, (1 / 2, 1 / 2), id="balanced"),
        pytest.param({"rule": "frequency", "weights": {"c": 2, "f": 1}}, (1 / 3, 2 / 3), id="frequency"),
        pytest.param({"rule": "weights", "weights": {"banana": 3, "lion": 9}}, (3 / 4, 1 / 4), id="weights"),
    ],
)
def test_only_named_categories_are_drawn_and_among_them_by_the_rule(make_pool, rule, shares):
    """Bananas (1) and frogs (3), by name in any order; the weight of lions (6) is passed over."""
    pool = make_pool(COUNTS)
    drawn = Counter(pool.category_id(row) for row in _draw(pool, only=("frog", "banana"), **rule))
    assert set(drawn) == {BANANA, FROG}
    assert chisquare([drawn[BANANA], drawn[FROG]], np.array(shares) * 4000).pvalue > 1e-4


def test_all_categories_by_name_are_as_none(make_pool):
    pool = make_pool(COUNTS)
    for rule in ("uniform", "balanced", "present"):
        everything = _draw(pool, 200, (LION,), only=("lion", "banana", "frog"), rule=rule)
        assert everything == _draw(pool, 200, (LION,), rule=rule)


def test_present_rule_draws_only_what_is_named_of_what_the_background_shows(make_pool):
    pool = make_pool(COUNTS)
    both = {"only": ("banana", "frog"), "rule": "present"}
    drawn = [
        Counter(pool.category_id(r) for r in _draw(pool, 200, at, **both)) for at in ([LION, FROG], [LION])
    ]
    assert set(drawn[0]) == {FROG} and set(drawn[1]) == {BANANA, FROG}


def test_of_source_images_only_what_is_named_is_drawn(tmp_path):
    """Image a shows a banana, a frog and a lion, b a banana, c a lion alone, which is never drawn."""
    pool = seal_pairs(tmp_path, {"a": ["banana", "frog", "lion"], "b": ["banana"], "c": ["lion"]})
    for rule in ("uniform", "balanced"):
        drawn = Counter(
            pool.category_id(r)
            for r in _draw(pool, 1000, draw="source-image", only=("banana", "frog"), rule=rule)
        )
        assert set(drawn) == {BANANA, FROG} and drawn[FROG] < drawn[BANANA]


def test_a_layout_takes_only_what_is_named(make_pool):
    sampler = InstanceSampler(make_pool(COUNTS), CategoryRuleSettings(rule="balanced"), "instance", ("frog",))
    rng = rng_for(0, "test")
    assert sampler.draw_of(rng, LION) is None and sampler.draw_of(rng, FROG) is not None


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (("frgo",), "categories: the pool has no instance of 'frgo'; did you mean 'frog'"),
        (("frog", "lion"), "no instance of 'lion'"),  # of which the pool has the name alone
        (("Frog",), "no instance of 'Frog'"),
    ],
)
def test_a_name_without_instances_is_an_error(make_pool, only, message):
    with pytest.raises(ConfigError, match=message):
        _draw(make_pool({"banana": 1, "frog": 1}), only=only, rule="balanced")


def test_named_categories_of_which_none_has_a_weight_are_an_error(make_pool):
    with pytest.raises(ConfigError, match="no category can be drawn"):
        _draw(make_pool(COUNTS), only=("lion",), rule="weights", weights={"lion": 0, "frog": 1})
