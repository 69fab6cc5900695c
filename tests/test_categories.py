import pytest

from xpaste_ray.categories import did_you_mean, display_name, lvis_categories, pick_categories
from xpaste_ray.errors import ConfigError


def test_lvis_has_its_published_counts():
    frequencies = [category.frequency for category in lvis_categories()]
    assert len(frequencies) == 1203
    assert {f: frequencies.count(f) for f in "rcf"} == {"r": 337, "c": 461, "f": 405}


def test_ids_are_kept_and_order_is_the_vocabularys():
    picked = pick_categories(lvis_categories(), ["zebra", "banana"])
    assert [(category.id, category.name) for category in picked] == [(45, "banana"), (1202, "zebra")]


def test_display_name_keeps_parentheses():
    assert display_name("bus_(vehicle)") == "bus (vehicle)"


def test_unknown_category_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown category 'strawbery'; did you mean 'strawberry'\?"):
        pick_categories(lvis_categories(), ["strawbery"])


def test_no_category_is_an_error():
    with pytest.raises(ConfigError, match="at least one"):
        pick_categories(lvis_categories(), [])


def test_nothing_near_lists_the_known():
    assert did_you_mean("qqq", ["b", "a"]) == "; known are: a, b"
