"""Categories: what is drawn, under the ids that the user's annotations already have."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from xpaste_ray.errors import ConfigError

_LVIS_FILE = Path(__file__).resolve().parent / "data" / "lvis_v1_categories.json"


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
    """LVIS's, by its name, or those of a file: COCO or LVIS JSON, YAML or JSON with a list of them, or text
    with a name a line. ConfigError."""
    if vocabulary == "lvis":
        return lvis_categories()
    raise ConfigError(f"categories.vocabulary: {vocabulary!r} is not known")


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
