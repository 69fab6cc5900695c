"""Which label of a model a category means."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache

from xpaste_ray.categories import lvis_categories, name_key
from xpaste_ray.errors import RowError


class Vocabulary:
    """The names that a model knows. names: by label."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self._exact = _labels_by_key((name_key(name), label) for label, name in names.items())
        self._bare = _labels_by_key((_bare(name), label) for label, name in names.items())

    def label_of(self, category: str) -> int:
        """The label whose name is the category's: the same but for case, underscores and spaces; else the
        same without what stands in parentheses (bus_(vehicle) is "bus"), also for a synonym that LVIS
        lists. Raises RowError("not_in_vocabulary") for none, or for several."""
        labels = self._exact.get(name_key(category)) or set().union(
            *(self._bare.get(name, ()) for name in _other_names(category))
        )
        if len(labels) != 1:
            raise RowError("not_in_vocabulary", f"{category} means {len(labels)} labels of the model")
        (label,) = labels
        return label

    def refusal(self, category: str) -> str | None:
        """The reason why `label_of` raises; None where it does not."""
        try:
            self.label_of(category)
        except RowError as error:
            return error.reason
        return None


def _labels_by_key(labels: Iterable[tuple[str, int]]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for key, label in labels:
        found[key].add(label)
    return dict(found)


def _bare(name: str) -> str:
    """Without the parentheses by which LVIS tells two meanings of a word apart."""
    return name_key(re.sub(r"\([^()]*\)", "", name))


def _other_names(category: str) -> set[str]:
    """The category's bare name and its synonyms', without those that name several categories of LVIS."""
    owners = _lvis_owners()
    names = {_bare(category)} | _lvis_synonyms().get(name_key(category), set())
    return {name for name in names if len(owners.get(name, ())) <= 1}


@cache
def _lvis_synonyms() -> dict[str, set[str]]:
    return {name_key(one.name): {_bare(name) for name in one.synonyms} for one in lvis_categories()}


@cache
def _lvis_owners() -> dict[str, set[int]]:
    """The ids of the categories that a bare name may mean."""
    return _labels_by_key(
        (_bare(name), one.id) for one in lvis_categories() for name in (one.name, *one.synonyms)
    )
