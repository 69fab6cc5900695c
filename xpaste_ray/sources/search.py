"""Searching the web for images of categories, once, into a list that the source `web` reads."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol
from urllib.parse import urlencode

import pyarrow as pa

from xpaste_ray.categories import Category, name_key
from xpaste_ray.errors import ConfigError, RunError
from xpaste_ray.runs import made_by, open_parquet, write_parquet
from xpaste_ray.sources.url_list import Found, UrlList
from xpaste_ray.storage import Location
from xpaste_ray.web.fetch import Fetched, Fetcher, Limits
from xpaste_ray.web.pace import LocalPace

_REQUESTS_PER_S = 1.0  # what Openverse allows anybody, and what Wikimedia asks for
_TIMEOUT_S, _MAX_ANSWER_BYTES, _RETRIES = 30.0, 16 * 1024**2, 3
_SAVE_EVERY_S = 5.0  # of searching

SEARCHED = pa.schema(
    [
        pa.field("category", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("page", pa.string()),
        pa.field("asked", pa.int32(), nullable=False),
    ]
)
"""What searches found: for each category a row for each image, in their order. asked: how many were. A row
without a URL is a place that stays empty: it was asked for when there were no more images; what a later
search found follows."""


MAX_PAGES = 50
"""Of answers to one search, however few of them are of use."""


class Engine(Protocol):
    """A search engine for images."""

    def __call__(self, category: Category, count: int) -> list[Found]:
        """Up to `count` images that the category's name finds, best first. RunError if the engine does not
        answer, or does not allow it."""
        ...


class Api:
    """The JSON answers of one engine, not asked too often. `name`: as people know it."""

    def __init__(
        self,
        name: str,
        address: str,
        own_address: bool = False,
        contact: str | None = None,
    ) -> None:
        """own_address: it is not the public one, but the user's own, perhaps on this network."""
        self._name, self._address, self._contact = name, address, contact
        limits = Limits(_TIMEOUT_S, _MAX_ANSWER_BYTES, 3, _RETRIES, 1, own_address, contact)
        self._fetch = Fetcher(limits, LocalPace(_REQUESTS_PER_S))

    def get(self, parameters: Mapping[str, str | int]) -> dict[str, Any]:
        """The answer's JSON object. RunError."""
        (answer,) = self._fetch([f"{self._address}?{urlencode(parameters)}"])
        if answer.body is None:
            raise RunError(self._why(answer))
        try:
            value = json.loads(answer.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise RunError(f"{self._name} ({self._address}) did not answer with JSON: is that its address?")
        return value

    def failed(self, why: str) -> RunError:
        return RunError(f"{self._name} ({self._address}) {why}")

    def _why(self, answer: Fetched) -> str:
        head = f"{self._name} ({self._address})"
        match answer.reason:
            case "http_429":
                return (
                    f"{head} allows no more requests for now: wait a while, then run the same command again"
                )
            case "http_401" | "http_403":
                hint = "" if self._contact else ": some want to know who asks: give a contact"
                return f"{head} refuses to answer ({answer.reason}){hint}"
            case _:
                return f"{head} could not be asked ({answer.reason}): check the network, then run it again"


class Searches:
    """What an engine found, in a file, category by category.

    A category that was asked for as many images is never searched again. For more, the places that were asked
    for stay as they are, empty ones too: what follows from them may be made already. recipe: the fingerprint
    of all that decides what is found. ConfigError if the file is of another.
    """

    def __init__(self, file: Location, recipe: str) -> None:
        self._file, self._recipe = file, recipe
        self._places: dict[str, list[Found | None]] = {}
        self._names: dict[str, str] = {}
        self._asked: dict[str, int] = {}
        made = made_by(file)
        if made is None and file.exists():
            raise ConfigError(f"{file} is damaged, or not of a search: remove it or choose another file")
        if made not in (None, recipe):
            raise ConfigError(
                f"{file} holds what another search found: search with the same engine, address and licences, "
                "or choose another file"
            )
        if made:
            for row in open_parquet(file).read().to_pylist():
                key, url = name_key(row["category"]), row["url"]
                found = Found(url, row["licence"], row["page"]) if url else None
                self._places.setdefault(key, []).append(found)
                self._names[key], self._asked[key] = row["category"], row["asked"]

    def missing(self, wanted: Mapping[Category, int]) -> dict[Category, int]:
        """The categories of which fewer were asked for."""
        return {
            category: count
            for category, count in wanted.items()
            if self._asked.get(name_key(category.name), 0) < count
        }

    def search(
        self,
        engine: Engine,
        wanted: Mapping[Category, int],
        searched: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Search for what is missing. searched: is told how many categories are. RunError as the engine's:
        what was found until then is kept."""
        missing, saved_s = self.missing(wanted), time.monotonic()
        try:
            for done, (category, count) in enumerate(missing.items()):
                searched(len(wanted) - len(missing) + done)
                self._add(category, count, engine(category, count))
                if time.monotonic() - saved_s > _SAVE_EVERY_S:
                    self._save()
                    saved_s = time.monotonic()
        finally:
            if missing:
                self._save()
        searched(len(wanted))

    def _add(self, category: Category, count: int, found: Iterable[Found]) -> None:
        key = name_key(category.name)
        places, asked = self._places.get(key, []), self._asked.get(key, 0)
        known = {one.url for one in places if one}
        new = {one.url: one for one in found if one.url not in known}
        if new:
            places = [*places, *[None] * (asked - len(places)), *new.values()]
        self._places[key] = places or [None]
        self._names[key], self._asked[key] = category.name, max(asked, count)

    def _save(self) -> None:
        rows = []
        for key, places in self._places.items():
            head = {"category": self._names[key], "asked": self._asked[key]}
            rows += [{**head, **(asdict(one) if one else {})} for one in places]
        write_parquet(self._file, pa.Table.from_pylist(rows, schema=SEARCHED), self._recipe)

    def found(self, category: Category) -> list[Found]:
        return [one for one in self._of(category) if one]

    def urls(self, categories: Iterable[Category]) -> UrlList:
        return UrlList({category.id: self._of(category) for category in categories}, keep_places=True)

    def _of(self, category: Category) -> Sequence[Found | None]:
        return self._places.get(name_key(category.name), ())


def licence_code(licence: str | None) -> str | None:
    """ "cc-by-sa-4.0" -> "by-sa": as Creative Commons call them, with "cc0" and "pdm" (public domain)."""
    if licence is None:
        return None
    name = licence.lower()
    if name == "pd" or name.startswith(("pd-", "pdm")):
        return "pdm"
    if name.startswith("cc0"):
        return "cc0"
    parts = name.removeprefix("cc-").split("-")
    codes = [part for part in parts if part in ("by", "sa", "nc", "nd")]
    return "-".join(codes) or None
