"""What may be asked of the service, and how each answer is read: no request is sent here."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import numpy as np

from xpaste_ray.client.answers import Answer
from xpaste_ray.client.batches import Batch, ReceivedSample, check_zip, read_batch
from xpaste_ray.client.errors import DamagedAnswer
from xpaste_ray.client.versions import changed
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.masks import decode_png
from xpaste_ray.storage import aside_of

T = TypeVar("T")

_ZIP = "application/zip"


class How(TypedDict, total=False):
    """How samples are composed.

    size: pixels of a side, or (height, width). options: of `compose`, nested as in a settings file, as far
    as the operator allows them. categories: only these are pasted, by name. preset: one of those that
    `pool()` lists. pool_version: VersionChanged if another one is served.
    """

    size: int | tuple[int, int]
    options: Mapping[str, Any]
    categories: Sequence[str]
    preset: str
    pool_version: str


class Asked(How, total=False):
    """Samples `first` to `first + count - 1` of the endless row that seed, preset and options give; if
    nothing is said, sample 0 of seed 0."""

    count: int
    seed: int
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request. read: what its answer says, or DamagedAnswer. body: JSON; a GET has none. into: opens
    what the answer is written to. versioned: a pool_version may be asked for."""

    path: str
    read: Callable[[Answer], T]
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    accept: str = "application/json"
    into: Callable[[], AbstractContextManager[BinaryIO]] = io.BytesIO
    versioned: bool = False

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"

    @property
    def name(self) -> str:
        """The same for the same request, by whatever version it is to be answered."""
        told = {**self.query, **(self.body or {})}
        told.pop("pool_version", None)
        return fingerprint({"path": self.path, "told": told, "accept": self.accept})

    def by_version(self, pool_version: str | None) -> "Call[T]":
        """The same request, for this version of the pool unless it names one."""
        if pool_version is None or not self.versioned:
            return self
        if self.body is None:
            return replace(self, query={"pool_version": pool_version, **self.query})
        return replace(self, body={"pool_version": pool_version, **self.body})


def compose(**asked: Unpack[Asked]) -> Call[Batch]:
    """Composed samples, whole and checked. See `Asked` and `How` for the arguments: count, seed, first,
    size, options, categories, preset, pool_version."""
    return Call(
        path="v1/compose", body=asked, accept=_ZIP, versioned=True, read=_batch_reader(_numbers(asked))
    )


def download(path: str | Path, **asked: Unpack[Asked]) -> Call[Path]:
    """The zip of `compose` as a file, which is there whole or not at all; not more than a part of it is in
    memory. Returns the path."""
    target, numbers = Path(path), _numbers(asked)

    def read(answer: Answer) -> Path:
        check_zip(answer.body, numbers, answer.versions)
        return target

    return Call(
        path="v1/compose", body=asked, accept=_ZIP, versioned=True, read=read, into=lambda: _whole(target)
    )


def plans(**asked: Unpack[Asked]) -> Call[list[dict[str, Any]]]:
    """How the samples of `compose` would be made, without a pixel; the same arguments."""
    numbers = list(_numbers(asked))

    def read(answer: Answer) -> list[dict[str, Any]]:
        found = _list(answer, "plans")
        if [plan.get("sample") for plan in found] != numbers:
            raise DamagedAnswer("the answer has the plans of other samples than were asked for")
        return found

    return Call(path="v1/plans", body=asked, versioned=True, read=read)


def render(plan: Mapping[str, Any]) -> Call[ReceivedSample]:
    """The sample of a plan, as `plans` gives it, changed or not."""
    return _one("v1/render", plan.get("sample", 0), body={"plan": plan})


def sample(recipe: str, seed: int, index: int) -> Call[ReceivedSample]:
    """One sample of a recipe of the operator's; `pool()` lists them."""
    return _one(f"v1/samples/{quote(recipe, safe='')}/{seed:d}/{index:d}", index)


def pool() -> Call[dict[str, Any]]:
    """What is served: versions, how many instances, presets, recipes, allowed options, limits."""
    return Call(path="v1/pool", read=lambda answer: answer.json)


def categories() -> Call[list[dict[str, Any]]]:
    """id, name, frequency (LVIS's, or None) and number of instances, each."""
    return Call(path="v1/categories", read=lambda answer: _list(answer, "categories"))


def instance(instance_id: str) -> Call[dict[str, Any]]:
    """What is known of an instance but its pixels, with its provenance."""
    return Call(path=f"v1/instances/{quote(instance_id, safe='')}", read=lambda answer: answer.json)


def instance_png(instance_id: str) -> Call[np.ndarray]:
    """The cut-out: (H, W, 4) uint8, straight colours and alpha."""

    def read(answer: Answer) -> np.ndarray:
        try:
            return decode_png(answer.body.read())
        except ValueError:
            raise DamagedAnswer("the answer is no whole PNG") from None

    path = f"v1/instances/{quote(instance_id, safe='')}.png"
    return Call(path=path, accept="image/png", read=read)


@dataclass(frozen=True, slots=True)
class Page:
    """Some instances in the pool's order. next_offset: of the next page, if there is one."""

    instances: list[dict[str, Any]]
    next_offset: int | None
    pool_version: str


def instances_page(category: str | None, offset: int, limit: int) -> Call[Page]:
    """category: only of this one."""
    query: dict[str, str | int] = {"offset": offset, "limit": limit}
    if category is not None:
        query["category"] = category

    def read(answer: Answer) -> Page:
        found, following = _list(answer, "instances"), answer.json.get("next_offset")
        if following is not None and (not isinstance(following, int) or following <= offset):
            raise DamagedAnswer("the answer's next_offset does not lead on")
        return Page(found, following, answer.json.get("pool_version", ""))

    return Call(path="v1/instances", query=query, read=read)


class Pages:
    """Pages that follow each other, of one pool."""

    def __init__(self) -> None:
        self.offset: int | None = 0
        self._version: str | None = None

    def add(self, page: Page) -> list[dict[str, Any]]:
        """Its instances; `offset` is the next one's then. VersionChanged."""
        if self._version not in (None, page.pool_version):
            raise changed("the pool was changed while its instances were listed", page.pool_version)
        self._version, self.offset = page.pool_version, page.next_offset
        return page.instances


def _one(path: str, number: int, body: Mapping[str, Any] | None = None) -> Call[ReceivedSample]:
    batch = _batch_reader(range(number, number + 1))
    return Call(
        path=path, body=body, accept=_ZIP, versioned=True, read=lambda answer: batch(answer).samples[0]
    )


def _batch_reader(numbers: range) -> Callable[[Answer], Batch]:
    return lambda answer: read_batch(answer.body, numbers, answer.versions, answer.etag)


def _numbers(asked: Asked) -> range:
    first = asked.get("first", 0)
    return range(first, first + asked.get("count", 1))


def _list(answer: Answer, name: str) -> list[dict[str, Any]]:
    found = answer.json.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise DamagedAnswer(f"the answer has no list {name!r}")
    return found


@contextmanager
def _whole(target: Path) -> Iterator[BinaryIO]:
    """A file to write; at the end it becomes the target, at an error it is gone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(target)
    try:
        with aside.open("w+b") as file:
            yield file
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
