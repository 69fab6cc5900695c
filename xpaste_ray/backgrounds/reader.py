"""Reading an index: memory-mapped, opened in no time, cheap to send to workers."""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.backgrounds.layout import ANNOTATIONS, FORMAT, INDEX, MANIFEST, ROWS_PER_BATCH
from xpaste_ray.backgrounds.sources import Place, Source
from xpaste_ray.categories import Category, category_from_coco, did_you_mean
from xpaste_ray.errors import ConfigError, RowError
from xpaste_ray.fingerprints import fingerprint
from xpaste_ray.masks import BoxXYWH
from xpaste_ray.runs import read_json


@dataclass(frozen=True, slots=True)
class BackgroundAnnotation:
    """An object, or a crowd, of a background, in pixels of the upright image.

    bbox_xywh: tight; area: pixels of the mask; rle: COCO's, {"size": [H, W], "counts": bytes}.
    """

    id: int
    category_id: int
    iscrowd: int
    bbox_xywh: BoxXYWH
    area: int
    rle: dict[str, Any]


class Backgrounds:
    """The usable images of an index. Rows are numbered 0 .. len-1, in source order.

    `folder` is the index's; `source` is where the images' bytes are. `without` are category ids:
    images with any annotation of one of them are left out. A copy in another process (pickle) opens
    the same files again; on a node that has no such index, it makes it first.
    """

    def __init__(self, folder: Path, source: Source, without: frozenset[int] = frozenset()) -> None:
        self.folder, self.source, self.without = folder, source, without
        self.manifest: dict[str, Any] = read_json(folder / MANIFEST)
        if self.manifest.get("format") != FORMAT:
            raise ConfigError(
                f"{folder}: index format {self.manifest.get('format')!r} is not {FORMAT}: "
                "remove the folder, and it is made again"
            )
        self._images = _Table(folder / INDEX)
        self._annotations = _Table(folder / ANNOTATIONS)
        self._rows = self._usable_rows()

    def __len__(self) -> int:
        return len(self._rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.folder, self.source, self.without, self.manifest["fingerprint"])

    @property
    def fingerprint(self) -> str:
        """Of ids, bytes, sizes and annotations; independent of where the data lies."""
        whole: str = self.manifest["fingerprint"]
        return fingerprint({"of": whole, "without": sorted(self.without)}) if self.without else whole

    @property
    def is_lvis(self) -> bool:
        return bool(self.manifest["is_lvis"])

    @property
    def context_count(self) -> int:
        """How many are contexts, see `mixed.MixedBackgrounds`: none."""
        return 0

    @property
    def rejected(self) -> Mapping[str, int]:
        """Unusable images by reason."""
        found: dict[str, int] = self.manifest["rejected"]
        return found

    @property
    def rejected_annotations(self) -> Mapping[str, int]:
        """Annotations that were left out, by reason."""
        found: dict[str, int] = self.manifest["rejected_annotations"]
        return found

    @cached_property
    def categories(self) -> tuple[Category, ...]:
        """Of the annotations; () if there are none."""
        return tuple(map(category_from_coco, self.manifest["categories"]))

    @cached_property
    def category_ids(self) -> frozenset[int]:
        """Of `categories`."""
        return frozenset(category.id for category in self.categories)

    @cached_property
    def sizes_hw(self) -> np.ndarray:
        """(N, 2) int32, upright."""
        sides = [self._images.column(name)[self._rows] for name in ("height", "width")]
        return np.stack(sides, axis=1).astype(np.int32, casting="unsafe")

    @cached_property
    def annotated_rows(self) -> np.ndarray:
        """(M,) int64: the rows with at least one annotation that is not a crowd, ascending."""
        return np.flatnonzero(self._images.column("objects")[self._rows])

    def objects(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every annotation that is not a crowd: the row of its image, its id and its category's, each (M,)
        int64; by row, then in the order of the annotation file."""
        first = self._images.column("first_annotation")[self._rows]
        counts = self._images.column("annotations")[self._rows]
        rows = np.repeat(np.arange(len(self)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        numbers = first[rows] + within
        kept = self._annotations.column("iscrowd")[numbers] == 0
        ids, category_ids = (self._annotations.column(name)[numbers[kept]] for name in ("id", "category_id"))
        return rows[kept], ids, category_ids

    def rejected_images(self) -> Iterator[tuple[str, str]]:
        """(id, reason) of each unusable image."""
        rejected = pc.equal(self._images.table["status"], "rejected")
        table = self._images.table.select(["id", "reason"]).filter(rejected)
        yield from zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True)

    @cached_property
    def ids(self) -> list[str]:
        """Of all rows, in order."""
        names: list[str] = self._images.table["id"].take(pa.array(self._rows)).to_pylist()
        return names

    def id(self, row: int) -> str:
        """A path in the folder, the dataset's name of the image, "<file>#<row>" or a colour."""
        name: str = self._value("id", row)
        return name

    def row_of_id(self, background_id: str) -> int:
        """The inverse of `id`. KeyError if there is no usable image of that id."""
        return self._row_of_id[background_id]

    def size_hw(self, row: int) -> tuple[int, int]:
        """Upright, in pixels."""
        height, width = self.sizes_hw[row]
        return int(height), int(width)

    def image_id(self, row: int) -> int | None:
        """The dataset's own id of the image; None for sources without annotations."""
        number: int | None = self._value("image_id", row)
        return number

    def annotations(self, row: int) -> tuple[BackgroundAnnotation, ...]:
        """In the order of the annotation file; crowds included."""
        number = self._rows[row]
        first = int(self._images.column("first_annotation")[number])
        count = int(self._images.column("annotations")[number])
        size_hw = self.size_hw(row)
        return tuple(self._annotation(n, size_hw) for n in range(first, first + count))

    def is_labelled(self, row: int) -> bool:
        """Whether its objects are annotated, if it shows any."""
        return bool(self.manifest["categories"])

    def is_blank(self, row: int) -> bool:
        """Whether it is a constant colour, which shows no object."""
        return bool(self.manifest["kind"] == "colours")

    def present_category_ids(self, row: int) -> np.ndarray:
        """(C,) int64, ascending: categories of all its annotations, crowds and rejected ones too."""
        return np.array(self._value("category_ids", row), np.int64)

    def rejected_category_ids(self, row: int) -> tuple[int, ...]:
        """Ascending: categories of its annotations that could not be used. It shows them unannotated."""
        return tuple(self._value("rejected_category_ids", row))

    def neg_category_ids(self, row: int) -> tuple[int, ...] | None:
        """LVIS: verified to be absent. None if the dataset is not LVIS's."""
        return self._category_ids("neg_category_ids", row)

    def not_exhaustive_category_ids(self, row: int) -> tuple[int, ...] | None:
        """LVIS: present, but perhaps not every one annotated. None if the dataset is not LVIS's."""
        return self._category_ids("not_exhaustive_category_ids", row)

    def checksum(self, row: int) -> str:
        """`fingerprints.hash_bytes` of the file."""
        digits: str = self._value("checksum", row)
        return digits

    def load(self, row: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, contiguous, upright.

        ConfigError that names the image if it is gone or not the one that was indexed. RowError, if it
        could be decoded then and cannot now.
        """
        place = Place(self._value("path", row), self._value("row_group", row), self._value("row", row))
        (data,) = self.source.fetch([place])
        if isinstance(data, RowError):
            raise ConfigError(f"backgrounds: {self.id(row)}: {data}: {_INDEX_AGAIN}")
        number = self._rows[row]
        if zlib.crc32(data) != self._images.column("crc32")[number]:
            raise ConfigError(f"backgrounds: {self.id(row)} has changed since it was indexed: {_INDEX_AGAIN}")
        try:
            return self.source.decode(data)
        except RowError as error:  # another version of a library, perhaps
            raise RowError(error.reason, self.id(row)) from None

    def without_categories(self, names_or_ids: Iterable[str | int]) -> "Backgrounds":
        """Only the images without any annotation (crowds and rejected ones too) of these categories.

        ConfigError for an unknown category, or if no image is left.
        """
        names_or_ids = tuple(names_or_ids)
        if not names_or_ids:
            return self
        without = self.without | {n for name in names_or_ids for n in self._ids_of_category(name)}
        left = Backgrounds(self.folder, self.source, without)
        if not len(left):
            raise ConfigError("backgrounds: every image has one of the excluded categories: exclude fewer")
        return left

    @cached_property
    def _row_of_id(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids)}

    def _usable_rows(self) -> np.ndarray:
        usable = pc.equal(self._images.table["status"], "ok").to_numpy()
        if self.without:
            present = self._images.table["category_ids"]
            named = np.isin(pc.list_flatten(present).to_numpy(), list(self.without))
            usable = usable.copy()
            usable[pc.list_parent_indices(present).to_numpy()[named]] = False
        return np.flatnonzero(usable)

    def _ids_of_category(self, name: str | int) -> list[int]:
        """Names win over numbers written as text."""
        named = [category.id for category in self.categories if category.name == name]
        if not named and str(name).isdecimal():
            named = [category.id for category in self.categories if category.id == int(name)]
        if not named:
            hint = did_you_mean(str(name), [category.name for category in self.categories])
            known = hint if self.categories else "; these backgrounds have no annotations"
            raise ConfigError(f"exclude-categories: unknown category {name!r}{known}")
        return named

    def _value(self, column: str, row: int) -> Any:
        return self._images.value(column, int(self._rows[row]))

    def _category_ids(self, column: str, row: int) -> tuple[int, ...] | None:
        ids = self._value(column, row)
        return None if ids is None else tuple(ids)

    def _annotation(self, number: int, size_hw: tuple[int, int]) -> BackgroundAnnotation:
        get = self._annotations.number
        return BackgroundAnnotation(
            id=get("id", number),
            category_id=get("category_id", number),
            iscrowd=get("iscrowd", number),
            bbox_xywh=(get("x", number), get("y", number), get("width", number), get("height", number)),
            area=get("area", number),
            rle={"size": list(size_hw), "counts": self._annotations.value("counts", number)},
        )


def _reopen(folder: Path, source: Source, without: frozenset[int], fingerprint: str) -> Backgrounds:
    """ConfigError if this node's images are not those of the node where they were opened."""
    from xpaste_ray.backgrounds.cache import open_or_index  # it imports this module

    if not (folder / MANIFEST).is_file():
        folder = open_or_index(source, folder.parent).folder
    opened = Backgrounds(folder, source, without)
    if opened.manifest["fingerprint"] != fingerprint:
        raise ConfigError("backgrounds: this node has other images than the one where the work began")
    return opened


_INDEX_AGAIN = "run the command again, it is then indexed again"


class _Table:
    """A memory-mapped Arrow file with `ROWS_PER_BATCH` rows a batch."""

    def __init__(self, path: Path) -> None:
        try:
            self.table: pa.Table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise ConfigError(
                f"{path} is damaged or missing ({error}): remove its folder, and it is made again"
            ) from None
        self._chunks: dict[str, list[pa.Array]] = {}
        self._arrays: dict[str, list[np.ndarray]] = {}
        self._columns: dict[str, np.ndarray] = {}

    def column(self, name: str) -> np.ndarray:
        """A whole column of numbers as one array."""
        if name not in self._columns:
            self._columns[name] = self.table[name].to_numpy()
        return self._columns[name]

    def value(self, name: str, row: int) -> Any:
        """One value of any type."""
        if name not in self._chunks:
            self._chunks[name] = self.table[name].chunks
        batch, offset = divmod(row, ROWS_PER_BATCH)
        return self._chunks[name][batch][offset].as_py()

    def number(self, name: str, row: int) -> int:
        """One value of a column of whole numbers, without touching the others."""
        if name not in self._arrays:
            self._arrays[name] = [chunk.to_numpy() for chunk in self.table[name].chunks]
        batch, offset = divmod(row, ROWS_PER_BATCH)
        return int(self._arrays[name][batch][offset])
