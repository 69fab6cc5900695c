"""Images of the web: a list of URLs by category."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.categories import Category, name_key
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.records import Prompt
from xpaste_ray.sources.base import prompt_of
from xpaste_ray.sources.found import count_of, some_of
from xpaste_ray.sources.index_file import read_index
from xpaste_ray.storage import Location
from xpaste_ray.web.addresses import parse_url

# What img2dataset, clip-retrieval and LAION call our columns. A caption counts as a category where it is a
# category's name.
_ALSO_CALLED = {
    "url": ("image_url",),
    "category": ("caption", "text"),
    "licence": ("license",),
    "page": ("foreign_landing_url",),
}


@dataclass(frozen=True, slots=True)
class Found:
    """An image of the web. licence, page: what its owner says of it, and where."""

    url: str
    licence: str | None = None
    page: str | None = None


class UrlList:
    """Usable URLs of each category, in the list's order and each once."""

    def __init__(self, rows: Mapping[int, Sequence[Found | None]], keep_places: bool = False) -> None:
        """rows: by category, by its id; any URLs. keep_places: the place of one that is left out, or is
        None, stays empty, else the next one has it."""
        self.bad: list[str] = []
        self._found: dict[int, list[Found | None]] = {}
        for category_id, several in rows.items():
            seen: set[str] = set()
            places = [self._usable(one, seen) for one in several]
            self._found[category_id] = places if keep_places else [one for one in places if one]

    def _usable(self, one: Found | None, seen: set[str]) -> Found | None:
        if one is None or one.url in seen:
            return None
        seen.add(one.url)
        return one if self._is_usable(one.url) else None

    def _is_usable(self, url: str) -> bool:
        try:
            parse_url(url)
        except RowError:
            self.bad.append(url)
            return False
        return True

    def of(self, category: Category) -> Sequence[Found | None]:
        return self._found.get(category.id, ())

    def notes(self, name: str, categories: Sequence[Category]) -> list[str]:
        """What is to be told of it, a line each. name: of the source."""
        lines = []
        if self.bad:
            shown = some_of([url[:80] for url in self.bad])
            lines.append(f"{name}: {count_of(len(self.bad), 'unusable URL')} left out: {shown}")
        empty = [category.name for category in categories if not any(self.of(category))]
        if empty:
            served = count_of(len(categories), "category")
            lines.append(f"{name}: no URL for {len(empty)} of {served}: {some_of(empty)}")
        return lines


class ListedUrls:
    """As many images of a category as the list has URLs of it."""

    def __init__(
        self,
        name: str,
        unit_size: int,
        urls: UrlList,
        recipe: Mapping[str, Any],
        served: Sequence[Category] = (),
    ) -> None:
        """served: the categories that it may be asked for."""
        self.name, self.unit_size, self.recipe = name, unit_size, dict(recipe)
        self.notes = urls.notes(name, served)
        self._urls, self._id = urls, fingerprint(self.recipe)

    def prompt(self, category: Category, index: int, number: int) -> Prompt | None:
        """The URL enters the id: what was fetched of another one is never taken for it."""
        urls = self._urls.of(category)
        found = urls[number] if number < len(urls) else None
        if found is None:
            return None
        told = fingerprint({"recipe": self._id, "url": found.url})[:8]
        return prompt_of(self, told, category, index, uri=found.url, licence=found.licence, page=found.page)


class Unsearched:
    """Stands for a search that was not made yet, where one only wants to know what work there will be: it is
    taken to find enough. Its prompts have neither a URL nor the end of an id, which follows from that."""

    def __init__(self, name: str, unit_size: int, recipe: Mapping[str, Any], categories: int) -> None:
        """categories: how many are not searched yet."""
        self.name, self.unit_size, self.recipe = name, unit_size, dict(recipe)
        self.notes = [f"{name}: {count_of(categories, 'category')} not searched yet: `pool build` does"]

    def prompt(self, category: Category, index: int, number: int) -> Prompt:
        return Prompt(f"{category.id}-{index}", category.id, category.name, index, self.name)


def read_url_list(place: Location, option: str, categories: Sequence[Category]) -> tuple[UrlList, str]:
    """The URLs of these categories from a Parquet, CSV or JSONL file, and the hash of the file.

    A row without a URL says that there are none of its category. ConfigError names the `option` if the
    file cannot be read, or has no URL of any of them.
    """
    wanted: defaultdict[str, list[Category]] = defaultdict(list)
    for category in categories:
        wanted[name_key(category.name)].append(category)
    rows: dict[int, list[Found]] = {category.id: [] for category in categories}
    table, content_hash, _ = read_index(
        place, option, ("url", "category"), ("licence", "page"), also_called=_ALSO_CALLED
    )
    for name, found in _named(table, wanted):
        for category in wanted[name_key(name)]:
            rows[category.id].append(found)
    if categories and not any(rows.values()):
        raise ConfigError(
            f"{option}: {place} has no URL for any of the {len(categories)} categories: its column category "
            "must hold their names"
        )
    return UrlList(rows), content_hash


def _named(table: pa.Table, wanted: Collection[str]) -> list[tuple[str, Found]]:
    """Category name and URL of the rows of the wanted categories, by their `name_key`."""
    names = [name for name in table["category"].unique().to_pylist() if name_key(name) in wanted]
    table = table.filter(pc.is_in(table["category"], pa.array(names, pa.string())))
    columns = [table[column].to_pylist() for column in ("category", "url", "licence", "page")]
    return [(category, Found(*told)) for category, *told in zip(*columns, strict=True)]
