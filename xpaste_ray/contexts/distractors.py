"""Captions without target classes: what names one is replaced by a distractor, a word of the same
supercategory that names none (EM-Paste, section 3.2 and Table 6).

Words are matched, not meanings: where orange is a target, an orange cat becomes a mango cat. That is the safe
side: an object of a target class that nobody labels is what must not get into a background.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpaste_ray.categories import Category, display_name, name_key
from xpaste_ray.contexts.inflection import article_for, is_plural, plural_of, plurals_of
from xpaste_ray.contexts.table import CLASSES, WORDS, Named, Word
from xpaste_ray.errors import ConfigError
from xpaste_ray.sources.shipped import shipped_or_given
from xpaste_ray.storage import locate
from xpaste_ray.yaml12 import load_yaml

NO_DISTRACTOR = "no_distractor"
_SECTIONS = ("words", "categories", "synonyms")

_TOKEN = re.compile(r"[^\W_]+")
_GAP = re.compile(r"[\s_-]+")  # between the words of one name
_LONGEST = 5  # words of a name
_SHORTEST_PART = 3  # letters: "wine glass" is a wineglass, but "a corn" is no acorn
_ARTICLE = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)
_POSSESSIVE = re.compile(r"['’](s\b)?(?!\w)", re.IGNORECASE)
_ONE_BEFORE = {"a", "an", "one", "another", "this", "that", "each", "every", "the"}
_LOOK_BACK = 3  # words
_CLAUSE = re.compile(r"[,.;:!?]")
_NOT_MENTIONS = ("hot dog", "corn dog", "man made")  # what has a target's name in it and shows none


@dataclass(frozen=True, slots=True)
class DistractorTable:
    """words: by supercategory. supercategories, synonyms: of the user's own, by `name_key` of the category;
    the built-in ones come after them."""

    words: Mapping[str, tuple[str | Word, ...]]
    supercategories: Mapping[str, str]
    synonyms: Mapping[str, tuple[str, ...]]

    @property
    def recipe(self) -> dict[str, Any]:
        return {
            "words": {name: [list(_both(one)) for one in words] for name, words in self.words.items()},
            "categories": dict(self.supercategories),
            "synonyms": {name: list(several) for name, several in self.synonyms.items()},
        }


PAPER = DistractorTable(WORDS, {}, {})
"""EM-Paste's."""


@dataclass(frozen=True, slots=True)
class Mention:
    """Of target `target` (its place), in text[start:end]. both: singular and plural look alike."""

    start: int
    end: int
    target: int
    many: bool
    both: bool


@dataclass(frozen=True, slots=True)
class Replaced:
    """text: the caption without targets, None where `reason` says why there is none. pairs: of each target
    that was mentioned, its name and what stands for it."""

    text: str | None
    pairs: tuple[tuple[str, str], ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Form:
    target: int | None  # None: no target, though a part of it may be one's name
    many: bool
    both: bool = False


class Distractors:
    """The rule, for the target classes of a data set."""

    def __init__(self, targets: Sequence[Category], table: DistractorTable = PAPER) -> None:
        self._names = [target.name for target in targets]
        known = [_Known(target, table) for target in targets]
        self._by_words: dict[tuple[str, ...], _Form] = {}
        self._by_letters: dict[str, _Form] = {}
        for names in ([one.own for one in known], [one.borrowed for one in known]):
            for place, several in enumerate(names):  # a target's own names before what others may be called
                for name in several:
                    self._learn(name, place)
        for name in _NOT_MENTIONS:
            self._learn(name, None)
        usable = {name: self._usable(words) for name, words in table.words.items()}
        self._words = [usable.get(one.supercategory or "", ()) for one in known]
        self._groups = [one.supercategory or "" for one in known]

    def without_distractor(self) -> list[str]:
        """The targets for which there is no word."""
        return [name for name, words in zip(self._names, self._words, strict=True) if not words]

    def mentions(self, text: str) -> list[Mention]:
        """What names a target, from left to right, the longest name first: a hot dog is no dog."""
        tokens = list(_TOKEN.finditer(text))
        found, place = [], 0
        while place < len(tokens):
            length, form = self._name_at(text, tokens, place)
            if form is not None and form.target is not None:
                start, end = tokens[place].start(), tokens[place + length - 1].end()
                found.append(Mention(start, end, form.target, form.many, form.both))
            place += length
        return found

    def replace(self, caption: str, rng: np.random.Generator) -> Replaced:
        """The caption with a distractor for each target that it mentions, the same for all mentions of one,
        and others for others while there are any. A caption without any stays as it is."""
        mentions = self.mentions(caption)
        chosen = self._choose(mentions, rng)
        if chosen is None:
            return Replaced(None, reason=NO_DISTRACTOR)
        text, end = "", 0
        for mention in mentions:
            text = _put(text + caption[end : mention.start], caption, mention, chosen[mention.target])
            end = mention.end
            if (tail := _POSSESSIVE.match(caption, end)) is not None:
                text, end = text + ("'" if text.endswith("s") else "'s"), tail.end()
        text += caption[end:]
        if self.mentions(text):  # a distractor and its neighbour made another name
            return Replaced(None, reason=NO_DISTRACTOR)
        pairs = tuple((self._names[target], word.one) for target, word in chosen.items())
        return Replaced(text, pairs)

    def _choose(self, mentions: Sequence[Mention], rng: np.random.Generator) -> dict[int, Word] | None:
        """A word for each target; None if one has none."""
        waiting: dict[str, list[Word]] = {}
        chosen: dict[int, Word] = {}
        for target in dict.fromkeys(mention.target for mention in mentions):
            words, group = self._words[target], self._groups[target]
            if not words:
                return None
            if not waiting.get(group):
                waiting[group] = [words[i] for i in rng.permutation(len(words))]
            chosen[target] = waiting[group].pop()
        return chosen

    def _usable(self, words: Sequence[str | Word]) -> tuple[Word, ...]:
        return tuple(word for word in map(_both, words) if not any(map(self.mentions, word)))

    def _learn(self, name: str, target: int | None) -> None:
        """All forms of a name; one that is known already stays what it is."""
        many = plural_of(name)
        forms = {name: _Form(target, is_plural(name), both=many == name and not is_plural(name))}
        for form in (many, *sorted(plurals_of(name))):
            forms.setdefault(form, _Form(target, True))
        for form, told in forms.items():
            words = tuple(one[0].casefold() for one in _TOKEN.finditer(form))
            self._by_words.setdefault(words, told)
            self._by_letters.setdefault("".join(words), told)

    def _name_at(self, text: str, tokens: Sequence[re.Match[str]], first: int) -> tuple[int, _Form | None]:
        """The longest known name that begins with a token: how many tokens, and what; (1, None) if none."""
        words: list[str] = []
        best: tuple[int, _Form | None] = (1, None)
        for token in tokens[first : first + _LONGEST]:
            if words and not _GAP.fullmatch(text, tokens[first + len(words) - 1].end(), token.start()):
                break
            words.append(token[0].casefold())
            form = self._by_words.get(tuple(words))
            if form is None and (len(words) == 1 or min(map(len, words)) >= _SHORTEST_PART):
                form = self._by_letters.get("".join(words))
            if form is not None:
                best = len(words), form
        return best


class _Known:
    """What a target is called. own: by its data set; borrowed: by the table of classes, if it is one."""

    def __init__(self, target: Category, table: DistractorTable) -> None:
        told = table.synonyms.get(name_key(target.name), ())
        self.own = [_plain(name) for name in (target.name, *target.synonyms, *told)]
        named = next((_SAME[name] for name in map(_letters, self.own) if name in _SAME), None)
        self.borrowed = [named, *CLASSES[named].same, *CLASSES[named].kinds] if named else []
        kind = next((_KINDS[name] for name in map(_letters, self.own) if name in _KINDS), None)
        class_name = named or kind
        self.supercategory = table.supercategories.get(name_key(target.name)) or (
            CLASSES[class_name].supercategory if class_name else None
        )


def _plain(name: str) -> str:
    """Without what tells it from others of its name: bus_(vehicle) is bus."""
    plain = re.sub(r"\([^)]*\)", " ", display_name(name)).strip()
    return " ".join((plain or display_name(name)).split())


def _letters(name: str) -> str:
    return "".join(_TOKEN.findall(name.casefold()))


def _index(names_of: Callable[[str, Named], Iterable[str]]) -> dict[str, str]:
    """Class by what it may be called, in singular and plural."""
    found: dict[str, str] = {}
    for name, told in CLASSES.items():
        for one in names_of(name, told):
            for form in (one, plural_of(one)):
                found.setdefault(_letters(form), name)
    return found


_SAME = _index(lambda name, told: (name, *told.same))
_KINDS = _index(lambda _, told: told.kinds)


def _both(word: str | Word) -> Word:
    if isinstance(word, Word):
        return word
    return Word(word, plural_of(word))


def _put(before: str, caption: str, mention: Mention, word: Word) -> str:
    """`before`, its article made to fit, with the word in the number and the case of the mention."""
    shown = caption[mention.start : mention.end]
    article = _ARTICLE.search(before)
    many = mention.many and not article
    if mention.both:
        many = not _ONE_BEFORE & set(_CLAUSE.split(before)[-1].casefold().split()[-_LOOK_BACK:])
    text = word.many if many else word.one
    if article:
        fitting = article_for(text)
        fitting = fitting.capitalize() if article[1][0].isupper() else fitting
        before = before[: article.start()] + fitting + article[2]
    if caption.isupper():
        return (before + text).upper()
    begins = not before.strip() or before.rstrip()[-1] in ".!?"
    titled = all(one[0].isupper() and not one.isupper() for one in _TOKEN.findall(shown))  # no TV
    if titled or (begins and shown[0].isupper()):
        text = text[0].upper() + text[1:]
    return before + text


def load_distractors(path: str | None, option: str = "contexts.distractors") -> DistractorTable:
    """The paper's table, or with a YAML or JSON file of the user's what that says, before what it does not:

    words: supercategory -> words that may stand for its classes; these come instead of the table's;
    categories: category -> supercategory, for those that the table lacks, or has elsewhere;
    synonyms: category -> what else captions may call it.

    ConfigError, which begins with `option`.
    """
    if path is None:
        return PAPER
    where = f"{option}: {path}"
    try:
        place = locate(shipped_or_given(path, "distractors.yaml"))
        data = place.read_text()
        told = load_yaml(data) if place.name.lower().endswith((".yaml", ".yml")) else json.loads(data)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where} cannot be read ({error}): give a YAML or JSON file") from None
    if not isinstance(told, Mapping) or not set(told) <= set(_SECTIONS):
        raise ConfigError(
            f"{where}: must have one or more of {', '.join(_SECTIONS)}, such as "
            "words: {animal: [lion, pig]} and categories: {cat: animal}"
        )
    words = {name: tuple(several) for name, several in _lists(told, "words", where)}
    synonyms = {name_key(name): tuple(several) for name, several in _lists(told, "synonyms", where)}
    every = {**WORDS, **words}
    return DistractorTable(every, dict(_pairs(told, every, where)), synonyms)


def _lists(told: Mapping[str, Any], section: str, where: str) -> Iterator[tuple[str, list[str]]]:
    for name, several in _section(told, section, where).items():
        if not isinstance(several, list) or not several or not all(map(_is_text, several)):
            raise ConfigError(f"{where}: {section}: {name!r} must have a list of words, got {several!r}")
        yield str(name), several


def _pairs(told: Mapping[str, Any], words: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    for name, supercategory in _section(told, "categories", where).items():
        if supercategory not in words:
            raise ConfigError(
                f"{where}: categories: {name!r} has the supercategory {supercategory!r}, of which there are "
                f"no words: add it to `words`, or take one of {', '.join(sorted(words))}"
            )
        yield name_key(str(name)), supercategory


def _section(told: Mapping[str, Any], section: str, where: str) -> Mapping[Any, Any]:
    found = told.get(section) or {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{where}: {section} must map names, got {found!r}")
    return found


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and _TOKEN.search(value) is not None
