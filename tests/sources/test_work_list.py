import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from pydantic import TypeAdapter

from tests.conftest import CATEGORIES
from xpaste_ray.categories import Category
from xpaste_ray.config import PromptSettings
from xpaste_ray.config.sources import SourceSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.prompts import Texts
from xpaste_ray.records import Prompt
from xpaste_ray.sources.diffusion import GeneratedImages
from xpaste_ray.sources.work_list import plan_units

TEXTS = Texts(PromptSettings(templates="a photo of a single {name}", per_category=1))


class Listed:
    """A source of `count` images a category."""

    notes = ()

    def __init__(self, name, count, unit_size=2):
        self.name, self.unit_size, self.recipe, self._count = name, unit_size, {}, count

    def prompt(self, category, index, number):
        if number >= self._count:
            return None
        return Prompt(f"{category.id}-{index}", category.id, category.name, index, self.name, uri=str(number))


def _section(**told):
    whole = {"kind": "folder", "path": "x", **told}
    return TypeAdapter(SourceSettings).validate_python(whole)


def _generated(per_category, unit_size=2, seed=0, recipe="r"):
    source = GeneratedImages("diffusion", unit_size, TEXTS, seed, {"model": recipe})
    return list(plan_units(CATEGORIES, {"diffusion": source}, {"diffusion": _section()}, per_category))


def _mixed(weights, per_category, counts=None, categories=CATEGORIES[:1]):
    """(source, number in it) of the first category's prompts, in order. weights: of sections a, b, c."""
    names = "abc"[: len(weights)]
    sources = {name: Listed(name, (counts or {}).get(name, 10**9)) for name in names}
    sections = {name: _section(weight=weight) for name, weight in zip(names, weights, strict=True)}
    units = plan_units(categories, sources, sections, per_category)
    return [(p.source, int(p.uri)) for u in units for p in u.prompts if p.category_id == categories[0].id]


def test_units_are_index_major_and_never_cross_a_round():
    units = _generated(2)
    assert [(u.id, [re.sub("-[0-9a-f]{8}$", "", p.candidate_id) for p in u.prompts]) for u in units] == [
        ("00000/unit-00000", ["45-0", "475-0"]),
        ("00000/unit-00001", ["649-0"]),
        ("00001/unit-00000", ["45-1", "475-1"]),
        ("00001/unit-00001", ["649-1"]),
    ]


def test_text_and_ids_follow_the_category():
    first = _generated(1)[0].prompts[0]
    assert (first.text, first.category_id, first.source) == ("a photo of a single banana", 45, "diffusion")


def test_seeds_differ_between_prompts_and_follow_the_identity():
    seeds = [prompt.seed for unit in _generated(4) for prompt in unit.prompts]
    assert len(set(seeds)) == 12
    assert seeds == [p.seed for unit in _generated(4, unit_size=3) for p in unit.prompts]
    assert seeds != [p.seed for unit in _generated(4, seed=1) for p in unit.prompts]


def test_another_recipe_shares_no_id_and_no_seed():
    """So that the images of several generators can be mixed."""
    here, there = ([p for u in _generated(3, recipe=r) for p in u.prompts] for r in ("r", "s"))
    assert not {p.candidate_id for p in here} & {p.candidate_id for p in there}
    assert not {p.seed for p in here} & {p.seed for p in there}


@pytest.mark.parametrize(
    ("weights", "turns"),
    [
        ([1], "aaaa"),
        ([1, 1], "ababab"),
        ([3, 1], "aaabaaab"),  # of equals the first
        ([1, 3], "bbabbbab"),
        ([1, 1, 2], "cabccabc"),
        ([0.1, 0.3], "bbabbbab"),  # tenths are compared exactly
    ],
)
def test_sources_take_turns_by_weight(weights, turns):
    assert "".join(name for name, _ in _mixed(weights, len(turns))) == turns


@pytest.mark.parametrize("weights", [[10, 1, 1], [1, 1, 1], [0.7, 0.2, 0.1], [5, 3, 1], [1, 1000, 30]])
def test_no_source_is_ever_an_image_from_its_share(weights):
    """The best that whole images allow, after any number of them: 10 of [10, 1, 1] are 8.33, and never 10."""
    turns = [name for name, _ in _mixed(weights, 120)]
    for length in range(1, 121):
        taken = Counter(turns[:length])
        for name, weight in zip("abc", weights, strict=True):
            assert abs(taken[name] - weight / sum(weights) * length) < 1


def test_a_source_is_asked_for_its_own_images_in_order():
    assert _mixed([1, 1], 6) == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_a_source_without_more_images_leaves_its_turns_out():
    """What the others give does not depend on it."""
    assert _mixed([1, 1], 6, {"a": 1}) == [("a", 0), ("b", 0), ("b", 1), ("b", 2)]


def test_units_hold_one_source_each():
    sources = {"a": Listed("a", 9, unit_size=2), "b": Listed("b", 9, unit_size=3)}
    sections = {"a": _section(frequencies="f"), "b": _section(frequencies=["c", "r"])}
    categories = [Category(n, str(n), frequency=f) for n, f in enumerate("fcfrf", 1)]
    units = list(plan_units(categories, sources, sections, 1))
    assert [(u.id, u.source, [p.category_id for p in u.prompts]) for u in units] == [
        ("00000/unit-00000", "a", [1, 3]),
        ("00000/unit-00001", "a", [5]),
        ("00000/unit-00002", "b", [2, 4]),
    ]


def test_asking_for_more_only_adds_units():
    """At the end of the list, with the ids that were there; also where one of several sources runs dry."""
    assert _generated(5)[: len(_generated(3))] == _generated(3)
    sources = {"a": Listed("a", 2), "b": Listed("b", 99)}
    sections = {"a": _section(weight=2), "b": _section()}
    few, more = (list(plan_units(CATEGORIES, sources, sections, count)) for count in (4, 9))
    assert more[: len(few)] == few and len(more) > len(few)
    assert all(before.round <= after.round for before, after in pairwise(more))


def test_rare_from_one_source_and_common_from_another():
    """X-Paste's summary: common -> web, rare -> generated."""
    sections = {"a": _section(frequencies=["c", "f"]), "b": _section(frequencies="r", weight=7)}
    sources = {"a": Listed("a", 99), "b": Listed("b", 99)}
    rare, common = (replace(CATEGORIES[0], frequency=letter) for letter in "rc")
    for category, source in ((rare, "b"), (common, "a")):
        units = plan_units([category], sources, sections, 3)
        assert {p.source for u in units for p in u.prompts} == {source}


def test_unknown_frequency_is_an_error_that_says_what_to_give():
    unknown = replace(CATEGORIES[0], frequency=None)
    message = "nobody knows how frequent 'banana' is: give its vocabulary frequency .* or image_count"
    with pytest.raises(ConfigError, match=message):
        list(plan_units([unknown], {"a": Listed("a", 9)}, {"a": _section(frequencies="r")}, 1))
    assert len(list(plan_units([unknown], {"a": Listed("a", 9)}, {"a": _section()}, 1))) == 1


def test_category_that_no_source_serves_is_an_error():
    common = replace(CATEGORIES[0], frequency="c")
    with pytest.raises(ConfigError, match="none of them serves 'banana', whose frequency is c: add c to"):
        list(plan_units([common], {"a": Listed("a", 9)}, {"a": _section(frequencies="r")}, 1))
