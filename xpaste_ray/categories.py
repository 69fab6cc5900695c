"""Categories: what is drawn, under the ids that the user's annotations already have."""

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from xpaste_ray.errors import ConfigError
from xpaste_ray.json_lists import entry_at, list_entries
from xpaste_ray.storage import Location, Stamp, locate
from xpaste_ray.yaml12 import load_yaml

_LVIS_FILE = Path(__file__).resolve().parent / "data" / "lvis_v1_categories.json"
_YAML = (".yaml", ".yml")
_RARE_UP_TO, _COMMON_UP_TO = 10, 100  # training images; LVIS, arXiv:1908.03195


@dataclass(frozen=True, slots=True)
class Category:
    """One category under its owner's id. `frequency` is LVIS's r, c or f, or None."""

    id: int
    name: str
    synonyms: tuple[str, ...] = ()
    definition: str = ""
    frequency: str | None = None


def category_to_coco(category: Category) -> dict[str, Any]:
    """A `categories` entry of COCO and LVIS files; what is not known is left out."""
    entry: dict[str, Any] = {"id": category.id, "name": category.name}
    optional = {
        "synonyms": list(category.synonyms),
        "def": category.definition,
        "frequency": category.frequency,
    }
    return entry | {key: value for key, value in optional.items() if value}


def category_from_coco(entry: Mapping[str, Any]) -> Category:
    """The inverse of `category_to_coco`; other keys are ignored."""
    return Category(
        entry["id"],
        entry["name"],
        tuple(entry.get("synonyms", ())),
        entry.get("def", ""),
        entry.get("frequency"),
    )


def display_name(name: str) -> str:
    """The name as it stands in a prompt: underscores become spaces (X-Paste, generation scripts)."""
    return name.replace("_", " ")


def name_key(name: str) -> str:
    """Equal for names that differ in case, underscores and spaces only."""
    return " ".join(name.replace("_", " ").casefold().split())


@cache
def lvis_categories() -> tuple[Category, ...]:
    """The 1,203 categories of LVIS v1, by id."""
    return tuple(map(category_from_coco, _lvis_rows()))


def lvis_instance_counts() -> dict[int, int]:
    """Annotations of LVIS v1 train by category id."""
    return {row["id"]: row["instance_count"] for row in _lvis_rows()}


def _lvis_rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(_LVIS_FILE.read_text(encoding="utf-8"))
    return rows


def load_vocabulary(vocabulary: str) -> tuple[Category, ...]:
    """LVIS's, by its name, or those of a file, here or in an object store:

    - JSON of COCO or LVIS (its `categories`; where these do not say how frequent they are, its annotations
      are counted);
    - YAML or JSON with a list of names, or of {id, name, synonyms, def, frequency, image_count}, of which
      the name is needed;
    - any other file is text, a name a line; what follows a # is a comment.

    Names without ids are numbered from 1. ConfigError.
    """
    if vocabulary == "lvis":
        return lvis_categories()
    place = locate(vocabulary)
    try:
        return _read_vocabulary(place, place.stamp())
    except FileNotFoundError:
        near = did_you_mean(vocabulary, ["lvis"]) if "." not in vocabulary else ""
        raise ConfigError(
            f"categories.vocabulary: {vocabulary} is neither lvis nor a file that is there{near}"
        ) from None


def is_vocabulary_file(path: str) -> bool:
    """Whether a file lists categories with more than their names, by its ending."""
    return path.lower().endswith((".json", *_YAML))


def read_names(path: str) -> tuple[str, ...]:
    """Category names from a text file, here or in an object store, one a line; what follows a # is a
    comment. ConfigError."""
    try:
        text = locate(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--categories {path} cannot be read ({error}): give a text file, a name a line"
        ) from None
    names = _names_in(text)
    if not names:
        raise ConfigError(f"--categories {path} holds no names: write one a line")
    return names


def check_some_known(names: Iterable[str], file: str, vocabulary: str) -> None:
    """ConfigError if not one of the names that a file lists is known: it is a vocabulary, then."""
    known = {category.name for category in load_vocabulary(vocabulary)}
    if known.isdisjoint(names):
        raise ConfigError(
            f"--categories {file}: none of its names is a category of the vocabulary {vocabulary}: if it "
            f"is to be the vocabulary itself, give --set categories.vocabulary={file} "
            "--set categories.names=all instead"
        )


@lru_cache(maxsize=4)
def _read_vocabulary(place: Location, stamp: Stamp) -> tuple[Category, ...]:
    """stamp: the file's, so that one that has changed is read again."""
    where = f"categories.vocabulary: {place}"
    try:
        categories = _parse_vocabulary(place)
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise ConfigError(f"{where}: {error}") from None
        raise ConfigError(f"{where} is not readable: {error}") from None
    if not categories:
        raise ConfigError(f"{where} lists no categories")
    _refuse_twice([category.id for category in categories], f"{where}: id")
    keys = [name_key(category.name) for category in categories]
    _refuse_twice(keys, f"{where}: name (case, underscores and spaces do not tell names apart)")
    return categories


def _parse_vocabulary(place: Location) -> tuple[Category, ...]:
    kind = place.name.lower()
    if kind.endswith(_YAML):
        return _from_list(load_yaml(place.read_text()))
    if not kind.endswith(".json"):
        return _from_list(list(_names_in(place.read_text())))
    text = place.read_bytes().decode("latin-1")
    if not text.lstrip("\u00ef\u00bb\u00bf \t\r\n").startswith("{"):
        return _from_list(json.loads(text.encode("latin-1")))
    return _from_dataset(text)


def _names_in(text: str) -> tuple[str, ...]:
    lines = text.removeprefix("\ufeff").splitlines()
    return tuple(name for line in lines if (name := line.partition("#")[0].strip()))


def _from_dataset(text: str) -> tuple[Category, ...]:
    """The categories of a COCO or LVIS file. Those whose frequency it does not tell are counted."""
    entries: list[Any] = []
    shown: set[tuple[Any, Any]] = set()
    for key, start, end, value in list_entries(text):
        if key == "categories":
            entries.append(entry_at(text, start, end))
        elif key == "annotations" and isinstance(value, dict):
            shown.add((value.get("category_id"), value.get("image_id")))
    categories = _from_list(entries)
    if not shown:
        return categories
    images = Counter(category_id for category_id, _ in shown)
    return tuple(
        category if category.frequency else replace(category, frequency=frequency_of(images[category.id]))
        for category in categories
    )


def frequency_of(images: int) -> str:
    """LVIS's: rare in 1 to 10 training images, common in 11 to 100, frequent in more."""
    return "r" if images <= _RARE_UP_TO else "c" if images <= _COMMON_UP_TO else "f"


def _from_list(entries: Any) -> tuple[Category, ...]:
    if not isinstance(entries, list):
        raise ConfigError("must be a list of names, or of {id: 1, name: banana}, or have `categories`")
    told = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
    numbered = [isinstance(entry, dict) and "id" in entry for entry in told]
    if any(numbered) and not all(numbered):
        raise ConfigError(f"entry {numbered.index(False) + 1} has no id, and others have: give all or none")
    return tuple(_from_entry(entry, number) for number, entry in enumerate(told, 1))


def _from_entry(entry: Any, number: int) -> Category:
    """`number`: its place in the list, from 1."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ConfigError(f"entry {number} must be a name (in quotes, if it looks like a number) or have one")
    name, images = entry["name"], entry.get("image_count")
    if not name_key(name):
        raise ConfigError(f"entry {number}: the name {name!r} is empty")
    if not _is_unicode(name):
        raise ConfigError(f"entry {number}: the name {name!r} is no Unicode text")
    if not _is_count(entry.get("id", number)):
        raise ConfigError(f"{name!r}: the id must be a whole number of at least 0, got {entry['id']!r}")
    frequency = entry.get("frequency")
    if frequency not in (None, "r", "c", "f"):
        raise ConfigError(f"{name!r}: frequency must be r, c or f, got {frequency!r}")
    if images is not None and not _is_count(images):
        raise ConfigError(f"{name!r}: image_count must be a whole number of at least 0, got {images!r}")
    if frequency is None and images is not None:
        frequency = frequency_of(images)
    synonyms, definition = entry.get("synonyms") or [], entry.get("def") or ""
    if not isinstance(synonyms, list) or not all(
        isinstance(one, str) and _is_unicode(one) for one in synonyms
    ):
        raise ConfigError(f"{name!r}: synonyms must be a list of names, got {synonyms!r}")
    if not isinstance(definition, str) or not _is_unicode(definition):
        raise ConfigError(f"{name!r}: def must be a text, got {definition!r}")
    return Category(entry.get("id", number), name, tuple(synonyms), definition, frequency)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_unicode(text: str) -> bool:
    """JSON can hold half characters, which no file can."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _refuse_twice(values: Sequence[Any], what: str) -> None:
    value, count = Counter(values).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"{what} {value!r} is there more than once: each must be another one")


def pick_categories(vocabulary: Sequence[Category], names: Iterable[str]) -> tuple[Category, ...]:
    """The named categories in the vocabulary's order. ConfigError names the nearest for an unknown one."""
    by_name = {category.name: category for category in vocabulary}
    wanted = list(names)
    for name in wanted:
        if name not in by_name:
            raise ConfigError(f"unknown category {name!r}{did_you_mean(name, by_name)}")
    if not wanted:
        raise ConfigError("no categories: give at least one name")
    chosen = set(wanted)
    return tuple(category for category in vocabulary if category.name in chosen)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A hint for error messages: '; did you mean X?', or the sorted choice if nothing is near."""
    names = sorted(known)
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(given.lower().replace(" ", "_"), by_lower, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {by_lower[near[0]]!r}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; known are: {shown}"
