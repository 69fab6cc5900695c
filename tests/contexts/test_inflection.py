import pytest

from xpaste_ray.contexts.inflection import article_for, is_plural, plural_of, plurals_of


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("cat", "cats"), ("person", "people"), ("mouse", "mice"), ("knife", "knives"), ("sheep", "sheep"),
        ("bus", "buses"), ("wine glass", "wine glasses"), ("toothbrush", "toothbrushes"),
        ("berry", "berries"), ("monkey", "monkeys"), ("policeman", "policemen"), ("human", "humans"),
        ("Woman", "Women"), ("UFO", "UFOs"), ("giraffe", "giraffes"), ("mango", "mangoes"),
        ("scissors", "scissors"), ("scarf", "scarves"),
    ],
)  # fmt: skip
def test_plural(one, many):
    assert plural_of(one) == many


def test_captions_may_spell_a_plural_otherwise():
    assert {"buses", "busses"} <= plurals_of("bus") and {"mangoes", "mangos"} <= plurals_of("mango")


def test_scissors_are_plural_already_and_a_bus_is_not():
    assert is_plural("scissors") and not is_plural("bus")


@pytest.mark.parametrize(
    ("text", "article"),
    [("apple", "an"), ("UFO", "a"), ("umbrella", "an"), ("mp4 player", "an"), ("hot dog", "a"),
     ("hourglass", "an"), ("unicycle", "a"), ("T-shirt", "a")],
)  # fmt: skip
def test_article_goes_by_the_sound(text, article):
    assert article_for(text) == article
