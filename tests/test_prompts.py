import json

import pytest
from pydantic import ValidationError

from xpaste_ray.categories import Category
from xpaste_ray.config import PromptSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.prompts import Texts

CLOCK = Category(8, "alarm_clock", ("alarm_clock", "alarm"), "a clock that wakes a sleeper", "f")
DOG = Category(9, "dog")


def _texts(category=CLOCK, **settings):
    return Texts(PromptSettings(**{"templates": "a photo of {name}", "per_category": 1, **settings})).of(
        category
    )


def test_template_has_the_name_as_people_write_it():
    assert _texts() == ("a photo of alarm clock",)


def test_xpaste_is_one_template():
    assert _texts(templates="xpaste") == ("a photo of a single alarm clock",)


def test_empaste_are_the_six_of_its_code():
    assert _texts(DOG, templates="empaste") == (
        "a photo of dog",
        "a realistic photo of dog",
        "a photo of dog in pure background",
        "dog in a white background",
        "dog without background",
        "dog isolated on white background",
    )


def test_several_templates_of_ones_own():
    assert _texts(DOG, templates=["a {name}", "two {name}s"]) == ("a dog", "two dogs")


def test_synonyms_come_name_by_name_and_none_twice():
    """LVIS lists a category's name among its synonyms."""
    assert _texts(templates=["a {name}", "one {name}"], synonyms=True) == (
        "a alarm clock", "one alarm clock", "a alarm", "one alarm",
    )  # fmt: skip


def test_definition_is_appended_where_there_is_one():
    assert _texts(definitions=True) == ("a photo of alarm clock, a clock that wakes a sleeper",)
    assert _texts(DOG, definitions=True) == ("a photo of dog",)


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_file_of_texts_comes_instead_of_the_templates(tmp_path, kind):
    file = tmp_path / f"texts.{kind}"
    texts = {"Alarm Clock": ["a red clock, brass bells", "an old clock {name} {"]}
    file.write_text(json.dumps(texts))  # which is YAML, too
    assert _texts(file=str(file)) == ("a red clock, brass bells", "an old clock {name} {")
    assert _texts(DOG, file=str(file)) == ("a photo of dog",)


def test_names_of_the_file_that_are_no_category_are_found(tmp_path):
    file = tmp_path / "texts.json"
    file.write_text(json.dumps({"dog": ["a dog"], "dgo": ["a dgo"]}))
    texts = Texts(PromptSettings(templates="xpaste", per_category=1, file=str(file)))
    assert texts.unused([CLOCK, DOG]) == ["dgo"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read .*give a JSON or YAML file, category name -> texts"),
        ("{", "cannot be read"),
        ('["a dog"]', "must map category names to lists of texts"),
        ('{"dog": "a dog"}', r"'dog' must have a list of texts, such as \[a red dog\]"),
        ('{"dog": []}', "'dog' must have a list of texts"),
        ('{"dog": [" "]}', "'dog' must have a list of texts"),
        ('{"Hot dog": ["a"], "hot_dog": ["b"]}', "'hot_dog' is there more than once: put its texts together"),
    ],
)
def test_wrong_file_of_texts_is_an_error_before_anything_starts(tmp_path, content, message):
    file = tmp_path / "texts.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=rf"prompts\.file: .*texts\.json.*{message}"):
        _texts(file=str(file))


def test_recipe_knows_the_file_by_what_is_in_it(tmp_path):
    def recipe(name, text):
        file = tmp_path / name
        file.write_text(json.dumps({"dog": [text]}))
        return Texts(PromptSettings(templates="xpaste", per_category=1, file=str(file))).recipe

    assert recipe("here.json", "a dog") == recipe("there.json", "a dog") != recipe("here.json", "a cat")


def test_recipe_does_not_know_how_many_images_are_asked_for():
    few, many = (Texts(PromptSettings(templates="xpaste", per_category=n)).recipe for n in (1, 9))
    assert few == many


@pytest.mark.parametrize("templates", ["a dog", "a {nam}", [], ["a {name}", "b"]])
def test_template_must_have_the_name(templates):
    with pytest.raises(ValidationError):
        PromptSettings(templates=templates, per_category=1)


@pytest.mark.parametrize(
    "name", ["a/b", "../../etc", "nul\0", "two\nlines", "x" * 300, "犬 🐶", "{name}", '100% \\ "quoted"']
)
def test_any_name_can_stand_in_a_text(name):
    assert _texts(Category(1, name)) == (f"a photo of {name}",)
