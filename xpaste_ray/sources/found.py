"""Images that exist already: a listing of them, and which are asked for."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.categories import Category, did_you_mean, name_key
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.records import Prompt
from xpaste_ray.sources.base import prompt_of

LISTING = pa.schema(
    [
        pa.field("category", pa.string(), nullable=False),  # as the source calls it: a name, or an id
        pa.field("uri", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("licence", pa.string()),
        pa.field("page", pa.string()),
    ]
)
"""A row an image, in the order in which they are asked for."""

_NAMED_IN_A_NOTE = 5


def listing_of(columns: Mapping[str, Sequence[Any] | pa.ChunkedArray]) -> pa.Table:
    """A table of `LISTING`; columns that are not given are null."""
    rows = len(columns["uri"])
    arrays = []
    for field in LISTING:
        values = columns.get(field.name)
        if values is None:
            values = pa.nulls(rows, field.type)
        arrays.append(values if isinstance(values, pa.ChunkedArray) else pa.array(values, field.type))
    return pa.table(arrays, schema=LISTING)


def utf8(name: str) -> str:
    """A file's name as text: what is not UTF-8 cannot be stored. It is escaped, then not found, and so
    counted."""
    return name.encode("utf-8", "backslashreplace").decode()


def hash_lines(lines: Iterable[str]) -> str:
    """32 hex digits of texts, in their order."""
    digest = blake2b(digest_size=16)
    for line in lines:
        data = line.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


class FoundImages:
    """The images of a listing, each at most once.

    place: what the stage needs to know to read them, beside the settings; it is in no recipe.
    """

    def __init__(
        self,
        name: str,
        unit_size: int,
        listing: pa.Table,
        place: Any,
        vocabulary: Sequence[Category],
        served: Sequence[Category],
        recipe: Mapping[str, Any],
        notes: Sequence[str] = (),
    ) -> None:
        """listing: of `LISTING`. served: the categories that it may be asked for. vocabulary: all that have
        names. ConfigError if it has no image of any category that it serves."""
        self.name, self.unit_size, self.place, self.recipe = name, unit_size, place, dict(recipe)
        told = listing.drop_columns(["category"]).combine_chunks()
        self._columns = {name: told[name] for name in told.column_names if told[name].null_count < len(told)}
        self._id = fingerprint(self.recipe)[:8]
        rows, unknown = _rows_by_category(listing, vocabulary) if len(listing) else ({}, {})
        self._rows = {category.id: rows[category.id] for category in served if category.id in rows}
        if served and not self._rows:
            raise ConfigError(f"sources.{name}: {_nothing_found(listing, vocabulary, served, unknown)}")
        self.notes = [f"{name}: {note}" for note in (*notes, *self._told(served, unknown))]

    def prompt(self, category: Category, index: int, number: int) -> Prompt | None:
        rows = self._rows.get(category.id)
        if rows is None or number >= len(rows):
            return None
        row = int(rows[number])
        told = {name: column[row].as_py() for name, column in self._columns.items()}
        return prompt_of(self, self._id, category, index, **told)

    def _told(self, served: Sequence[Category], unknown: Mapping[str, int]) -> list[str]:
        images = sum(map(len, self._rows.values()))
        told = [f"{count_of(images, 'image')} of {len(self._rows)} of {count_of(len(served), 'category')}"]
        if lacking := [category.name for category in served if category.id not in self._rows]:
            told.append(f"no image of {some_of(lacking)}")
        if unknown:
            left_out = count_of(sum(unknown.values()), "image")
            told.append(
                f"{left_out} left out, whose categories are not in the vocabulary: {some_of(unknown)}"
            )
        return told


def _rows_by_category(
    listing: pa.Table, vocabulary: Sequence[Category]
) -> tuple[dict[int, np.ndarray], dict[str, int]]:
    """Rows of the listing in their order by category id, and how many images have a category that is none.
    Names win over ids."""
    by_id = {str(category.id): category.id for category in vocabulary}
    by_key = {name_key(category.name): category.id for category in vocabulary}
    column = pc.dictionary_encode(listing["category"]).combine_chunks()
    names, codes = column.dictionary.to_pylist(), column.indices.to_numpy()
    rows = np.split(
        np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes, minlength=len(names)))[:-1]
    )
    found: dict[int, list[np.ndarray]] = {}
    unknown: dict[str, int] = {}
    for name, own in zip(names, rows, strict=True):
        category_id = by_key.get(name_key(name), by_id.get(name))
        if category_id is None:
            unknown[name] = len(own)
        else:
            found.setdefault(category_id, []).append(own)
    return {number: np.sort(np.concatenate(parts)) for number, parts in found.items()}, unknown


def _nothing_found(
    listing: pa.Table, vocabulary: Sequence[Category], served: Sequence[Category], unknown: Mapping[str, int]
) -> str:
    if not len(listing):
        return "there is no image in it"
    wanted = some_of([category.name for category in served])
    if not unknown:
        return f"it has no image of {wanted}, only of other categories"
    first = next(iter(unknown))
    hint = did_you_mean(first, [category.name for category in vocabulary])
    return f"it has no image of {wanted}. Its categories are {some_of(unknown)}: {first!r} is unknown{hint}"


def some_of(names: Sequence[str] | Mapping[str, int]) -> str:
    """A few of them, and how many more there are."""
    shown = [repr(name) for name in list(names)[:_NAMED_IN_A_NOTE]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def count_of(number: int, noun: str) -> str:
    """ "1 image", "2,000 categories"."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
