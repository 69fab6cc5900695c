"""Whether a detector and a truth mean the same by a category's id."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xpaste_ray.categories import Category, name_key
from xpaste_ray.errors import ConfigError

_NAMED = 5  # in a message


@dataclass(frozen=True, slots=True)
class Unshared:
    """Names of categories that only one of them has. missing: the truth's, which cannot be found. extra: the
    detector's, whose predictions are left out."""

    missing: tuple[str, ...]
    extra: tuple[str, ...]


def match_categories(known: Sequence[tuple[int, str]], wanted: Sequence[Category]) -> Unshared:
    """What a detector that knows the categories `known`, (id, name), has in common with a truth.

    ConfigError if an id has two names or a name two ids, or if each has categories that the other lacks.
    """
    theirs = {category.id: category.name for category in wanted}
    by_name = {name_key(category.name): category.id for category in wanted}
    for number, name in known:
        if number in theirs and name_key(theirs[number]) != name_key(name):
            raise ConfigError(
                f"--val: category {number} is {theirs[number]!r} there and {name!r} in the detector: give "
                "the annotation file of the categories that it was trained on"
            )
        if by_name.get(name_key(name), number) != number:
            raise ConfigError(
                f"--val: {name!r} is category {by_name[name_key(name)]} there and {number} in the detector: "
                "give an annotation file with the ids that it was trained on"
            )
    ids = {number for number, _ in known}
    missing = tuple(category.name for category in wanted if category.id not in ids)
    extra = tuple(name for number, name in known if number not in theirs)
    if missing and extra:
        raise ConfigError(
            f"--val: the detector does not know {some_names(missing)}, and {some_names(extra)} of the "
            "detector are not among --val's categories: give the annotation file of the categories that it "
            "was trained on"
        )
    return Unshared(missing, extra)


def some_names(names: Iterable[str]) -> str:
    """For people: the first few."""
    told = list(names)
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return ", ".join(map(repr, told[:_NAMED])) + more
