"""A COCO or LVIS file with some of its images only, and all else of it as it was."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from xpaste_ray.categories import frequency_of
from xpaste_ray.errors import ConfigError
from xpaste_ray.json_lists import entry_at, members
from xpaste_ray.storage import Location

_COUNTED = ("image_count", "instance_count", "frequency")  # LVIS's, of a category in this file

_Span = tuple[int, int]


class SplittableFile:
    """An annotation file, read once. Its entries stay in its text: of each, only the ids are kept.

    image_ids, category_ids: in the file's order. counts: (images, categories), how many objects of each
    category an image has, crowds left out. left_out: annotations of images or categories that the file
    lacks, by reason; no part has them.
    """

    def __init__(self, file: Location) -> None:
        """ConfigError if it is none."""
        self.image_ids: list[str | int] = []
        self.category_ids: list[str | int] = []
        self._spans: dict[str, list[_Span]] = {}
        self._plain: dict[str, _Span] = {}
        self._categories: list[dict[str, Any]] = []
        annotations: list[tuple[str | int, str | int, bool]] = []
        try:
            self._text = file.read_bytes().decode("latin-1")
            self._read(annotations)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            told = f"an entry lacks {error}" if isinstance(error, KeyError) else error
            raise ConfigError(f"{file} is not readable as a COCO or LVIS file ({told})") from None
        for key in ("images", "annotations", "categories"):
            if key not in self._spans:
                raise ConfigError(f"{file} is no COCO or LVIS file: it has no {key}")
        for ids, noun in ((self.image_ids, "image"), (self.category_ids, "category")):
            if len(set(ids)) < len(ids):
                twice = Counter(ids).most_common(1)[0][0]
                raise ConfigError(f"{file}: {noun} id {twice!r} is there more than once: number them anew")
        self._image_rows, columns, objects = self._places(annotations)
        self.counts = self._counted(self._image_rows[objects], columns[objects])

    def _read(self, annotations: list[tuple[str | int, str | int, bool]]) -> None:
        for key, is_entry, start, end, value in members(self._text):
            if not is_entry:
                self._plain[key] = start, end
                continue
            self._spans.setdefault(key, []).append((start, end))
            if key == "images":
                self.image_ids.append(_id_of(value, "id"))
            elif key == "annotations":
                ids = _id_of(value, "image_id"), _id_of(value, "category_id")
                annotations.append((*ids, bool(value.get("iscrowd", 0))))
            elif key == "categories":
                self._categories.append(entry_at(self._text, start, end))
                self.category_ids.append(_id_of(value, "id"))

    def _places(
        self, annotations: Sequence[tuple[str | int, str | int, bool]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row of the image, column of the category of each annotation; -1 of an image for what is left out.
        Whether it is an object."""
        row_of = {one: row for row, one in enumerate(self.image_ids)}
        column_of = {one: column for column, one in enumerate(self.category_ids)}
        rows = np.array([row_of.get(image, -1) for image, _, _ in annotations], np.int64)
        columns = np.array([column_of.get(category, -1) for _, category, _ in annotations], np.int64)
        crowds = np.array([crowd for _, _, crowd in annotations], bool)
        known_image, known_category = rows >= 0, columns >= 0
        left_out = Counter(
            unknown_image=int((~known_image).sum()),
            unknown_category=int((known_image & ~known_category).sum()),
        )
        self.left_out = {reason: count for reason, count in left_out.items() if count}
        rows[~known_category] = -1
        return rows, columns, (rows >= 0) & ~crowds

    def _counted(self, rows: np.ndarray, columns: np.ndarray) -> csr_array:
        size = len(self.image_ids), len(self.category_ids)
        counts = csr_array((np.ones(len(rows), np.int64), (rows, columns)), shape=size)
        counts.sum_duplicates()
        return counts

    def part(self, images: np.ndarray) -> Iterator[bytes]:
        """The file's text with these images, by their rows, and their annotations; ids are as they were.

        Categories all stay; where they say in how many images, or how often, they are shown, or how frequent
        they are, they say it of the part.
        """
        wanted = np.zeros(len(self.image_ids) + 1, bool)  # the last for rows of -1
        wanted[images] = True
        kept = {
            "images": np.flatnonzero(wanted[:-1]).tolist(),
            "annotations": np.flatnonzero(wanted[self._image_rows]).tolist(),
        }
        begin = "{"
        for key in sorted({**self._plain, **self._spans}, key=self._where):
            yield f"{begin}{json.dumps(key)}: ".encode()
            begin = ",\n"
            if key == "categories":
                yield from _joined(json.dumps(one).encode() for one in self._recounted(images))
            elif key in self._spans:
                spans = self._spans[key]
                wanted_spans = [spans[place] for place in kept.get(key, range(len(spans)))]
                yield from _joined(map(self._raw, wanted_spans))
            else:
                yield self._raw(self._plain[key])
        yield b"}\n"

    @property
    def names(self) -> list[str]:
        """Of the categories; where one has none, its id."""
        return [str(one.get("name", one["id"])) for one in self._categories]

    def _where(self, key: str) -> int:
        return self._spans[key][0][0] if key in self._spans else self._plain[key][0]

    def _raw(self, span: _Span) -> bytes:
        return self._text[span[0] : span[1]].encode("latin-1")

    def _recounted(self, images: np.ndarray) -> Iterator[dict[str, Any]]:
        part = self.counts[images]
        objects = np.asarray(part.sum(axis=0)).tolist()
        showing = np.bincount(part.indices, minlength=len(self._categories)).tolist()
        for entry, shown, instances in zip(self._categories, showing, objects, strict=True):
            now = {"image_count": shown, "instance_count": instances, "frequency": frequency_of(shown)}
            yield entry | {key: now[key] for key in _COUNTED if key in entry}


def _id_of(entry: Any, key: str) -> str | int:
    if not isinstance(entry, dict):
        raise ValueError("an entry is no object")
    value = entry[key]
    if type(value) is not int and not isinstance(value, str):
        raise ValueError(f"{key} must be a whole number, got {value!r}")
    return value


def _joined(entries: Iterable[bytes]) -> Iterator[bytes]:
    """A JSON list, an entry a line."""
    between = b"[\n"
    for entry in entries:
        yield between + entry
        between = b",\n"
    yield b"\n]" if between == b",\n" else b"[]"
