"""Reading a sealed pool: memory-mapped, shared between processes, safe after fork."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from xpaste_ray.categories import Category, category_from_coco
from xpaste_ray.errors import ConfigError
from xpaste_ray.pool.layout import FORMAT, INDEX, MANIFEST
from xpaste_ray.runs import read_json


@dataclass(frozen=True, slots=True)
class Instance:
    """One cut-out. rgb: (h, w, 3) uint8, straight colour; alpha: (h, w) uint8. Read-only views."""

    instance_id: str
    category_id: int
    rgb: np.ndarray
    alpha: np.ndarray

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.alpha.shape[0], self.alpha.shape[1]


class Pool:
    """A sealed pool in `folder`. Instances are numbered 0 .. len-1, in pool order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = read_json(folder / MANIFEST)
        if self.manifest.get("format") != FORMAT:
            raise ConfigError(
                f"{folder}: pool format {self.manifest.get('format')!r} is not {FORMAT}: build it again"
            )
        index = _map(folder / INDEX).read_all()
        self.instance_ids: list[str] = index["instance_id"].to_pylist()
        self._category_ids = index["category_id"].to_numpy()
        self._places = np.stack([index[name].to_numpy() for name in ("shard", "batch", "offset")], axis=1)
        self._shards = [_map(folder / shard["name"]) for shard in self.manifest["shards"]]

    def __len__(self) -> int:
        return len(self.instance_ids)

    @property
    def fingerprint(self) -> str:
        value: str = self.manifest["fingerprint"]
        return value

    @cached_property
    def categories(self) -> tuple[Category, ...]:
        """All categories that the pool was built for, those without instances too."""
        return tuple(map(category_from_coco, self.manifest["categories"]))

    @cached_property
    def rows_by_category(self) -> dict[int, np.ndarray]:
        """Instance numbers of every category that has any, by category id; keys ascend."""
        return {int(c): np.flatnonzero(self._category_ids == c) for c in np.unique(self._category_ids)}

    @cached_property
    def row_of_id(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.instance_ids)}

    def instance(self, row: int) -> Instance:
        """The cut-out number `row`, without copying its pixels."""
        batch, offset = self._locate(row)
        height, width = (batch[name][offset].as_py() for name in ("height", "width"))
        rgb = np.frombuffer(batch["rgb"][offset].as_buffer(), np.uint8).reshape(height, width, 3)
        alpha = np.frombuffer(batch["alpha"][offset].as_buffer(), np.uint8).reshape(height, width)
        return Instance(self.instance_ids[row], self.category_id(row), rgb, alpha)

    def category_id(self, row: int) -> int:
        return int(self._category_ids[row])

    def size_hw(self, row: int) -> tuple[int, int]:
        batch, offset = self._locate(row)
        return batch["height"][offset].as_py(), batch["width"][offset].as_py()

    def provenance(self, row: int) -> dict[str, Any]:
        """Everything that is known of an instance but its pixels."""
        batch, offset = self._locate(row)
        return {
            name: batch[name][offset].as_py() for name in batch.schema.names if name not in ("rgb", "alpha")
        }

    def _locate(self, row: int) -> tuple[pa.RecordBatch, int]:
        shard, batch, offset = self._places[row]
        return self._shards[shard].get_batch(batch), int(offset)


def open_pool(path: str | Path) -> Pool:
    """The pool of a run (its current one) or in a pool folder. ConfigError if there is none."""
    folder = Path(path)
    pointer = folder / "pool.json"
    if pointer.is_file():
        folder = folder / read_json(pointer)["current"]
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"{folder} holds no sealed pool ({MANIFEST} is missing): build one first")
    return Pool(folder)


def _map(path: Path) -> pa.ipc.RecordBatchFileReader:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{path} is damaged or missing ({error}): seal the pool again") from None
