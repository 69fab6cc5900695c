"""Plurals and articles of English nouns, as far as names of objects need them."""

import re

_IRREGULAR = {
    "aircraft": "aircraft", "broccoli": "broccoli", "buffalo": "buffalo", "calf": "calves",
    "cattle": "cattle", "child": "children", "deer": "deer", "elf": "elves", "fish": "fish", "foot": "feet",
    "goose": "geese", "half": "halves", "hero": "heroes", "human": "humans", "knife": "knives",
    "leaf": "leaves", "life": "lives", "loaf": "loaves", "luggage": "luggage", "man": "men",
    "mango": "mangoes", "moose": "moose", "mouse": "mice", "ottoman": "ottomans",
    "ox": "oxen", "person": "people",
    "potato": "potatoes", "scarf": "scarves", "sheep": "sheep", "shelf": "shelves", "shrimp": "shrimp",
    "tomato": "tomatoes", "tooth": "teeth", "wife": "wives", "wolf": "wolves", "woman": "women",
}  # fmt: skip
_NEVER_ONE = {
    "binoculars", "cattle", "clippers", "clothes", "glasses", "goggles", "gloves", "headphones", "jeans",
    "leggings", "pajamas", "pants", "people", "pliers", "scissors", "shears", "shorts", "skis", "sunglasses",
    "tights", "tongs", "trousers", "tweezers",
}  # fmt: skip
"""Names that are plurals already."""

_SOUNDS_OPEN = re.compile(r"(hour|honest|honou?r|heir|mp\d|x-?ray|f\d|8|11\b|18\b)", re.IGNORECASE)
_SOUNDS_CLOSED = re.compile(r"(u(fo|ni|se|te|sb|k\b|rn)|eu|ewe|one\b|once\b|ouija)", re.IGNORECASE)


def plural_of(name: str) -> str:
    """Of a noun or a compound, whose last word is the one that changes: wine glass, wine glasses."""
    head, space, last = name.rpartition(" ")
    return head + space + _plural_word(last)


def plurals_of(name: str) -> set[str]:
    """Every form that a caption may have: also what is not quite right, as mangos or busses."""
    return {plural_of(name), name + "s", name + "es"} | ({name + "ses"} if name.endswith("s") else set())


def is_plural(name: str) -> bool:
    """Whether a name is a plural already, which no article fits."""
    return name.rpartition(" ")[2].casefold() in _NEVER_ONE


def article_for(text: str) -> str:
    """`a` or `an`, by the sound that follows as far as its letters tell it."""
    if _SOUNDS_OPEN.match(text):
        return "an"
    return "an" if text[:1].casefold() in set("aeiou") and not _SOUNDS_CLOSED.match(text) else "a"


def _plural_word(word: str) -> str:
    lower = word.casefold()
    if lower in _NEVER_ONE:
        return word
    for ending in (lower, "man"):  # policeman as man
        if ending in _IRREGULAR and lower.endswith(ending):
            kept = len(word) - len(ending)
            many = _IRREGULAR[ending]
            return word[:kept] + (many.capitalize() if word[kept].isupper() else many)
    if re.search(r"(s|x|z|ch|sh)$", lower):
        return word + "es"
    if re.search(r"[^aeiou]y$", lower):
        return word[:-1] + "ies"
    return word + "s"
