"""Shards: ranges of consecutive samples, and the fragments that commit them.

fragments/00000000-00000024.json   {"recipe", "counts", "samples"} of samples 0 .. 24, and "polygons" if asked
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpaste_ray.errors import ConfigError
from xpaste_ray.runs import write_whole
from xpaste_ray.samples import Sample, sample_from_json, sample_to_json

_FRAGMENT_NAME = re.compile(r"(\d{8,})-(\d{8,})\.json")
_NOT_A_FRAGMENT = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """Samples first .. last, both included."""

    first: int
    last: int

    @property
    def name(self) -> str:
        return f"{self.first:08d}-{self.last:08d}"

    @property
    def indices(self) -> range:
        return range(self.first, self.last + 1)


Polygons = list[list[list[int]] | None]
"""For each annotation of a sample its polygons, flat lists of xy; None for a crowd."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a shard holds. `counts` are the compositor's: placements by what became of them.

    `polygons`, if they were asked for, go with `samples`.
    """

    recipe: str
    counts: dict[str, int]
    samples: tuple[Sample, ...]
    polygons: tuple[Polygons, ...] | None = None


def plan_shards(count: int, samples_per_shard: int) -> list[Shard]:
    """The ranges that cover 0 .. count-1."""
    starts = range(0, count, samples_per_shard)
    return [Shard(start, min(start + samples_per_shard, count) - 1) for start in starts]


def fragment_path(dataset: Path, shard: Shard) -> Path:
    return dataset / "fragments" / f"{shard.name}.json"


def find_shards(dataset: Path) -> list[Shard]:
    """The shards whose fragments are there, by range; only file names are looked at."""
    names = (_FRAGMENT_NAME.fullmatch(path.name) for path in (dataset / "fragments").glob("*.json"))
    return sorted(Shard(int(name[1]), int(name[2])) for name in names if name)


def write_fragment(
    dataset: Path,
    shard: Shard,
    recipe: str,
    counts: Mapping[str, int],
    samples: Sequence[Sample],
    polygons: Sequence[Polygons] | None = None,
) -> None:
    """Commit a shard: every other file of it is on disk, and this is the last one."""
    value: dict[str, Any] = {"recipe": recipe, "counts": dict(counts)}
    value["samples"] = [sample_to_json(sample) for sample in samples]
    if polygons is not None:
        value["polygons"] = list(polygons)
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    write_whole(fragment_path(dataset, shard), text.encode())


def read_fragment(dataset: Path, shard: Shard) -> Fragment:
    """The shard's fragment; ConfigError if it is missing, damaged or of other samples."""
    path = fragment_path(dataset, shard)
    try:
        value = json.loads(path.read_bytes())
        samples = tuple(map(sample_from_json, value["samples"]))
        polygons = tuple(value["polygons"]) if "polygons" in value else None
        fragment = Fragment(value["recipe"], dict(value["counts"]), samples, polygons)
        fits = [sample.index for sample in samples] == list(shard.indices) and (
            polygons is None or list(map(len, polygons)) == [len(s.annotations) for s in samples]
        )
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}): write the shard again with the same command"
        ) from None
    except _NOT_A_FRAGMENT as error:
        raise ConfigError(
            f"{path} is damaged ({type(error).__name__}: {error}): delete it and run the same command again"
        ) from None
    if not fits:
        raise ConfigError(
            f"{path} does not hold samples {shard.first} to {shard.last}: delete it and run the same "
            "command again"
        )
    return fragment


def is_committed(dataset: Path, shard: Shard, recipe: str) -> bool:
    """Whether the shard's fragment is there, whole, and made by this recipe. Never raises."""
    try:
        value: Any = json.loads(fragment_path(dataset, shard).read_bytes())
        indices = [sample["index"] for sample in value["samples"]]
        return bool(value["recipe"] == recipe and indices == list(shard.indices))
    except (OSError, *_NOT_A_FRAGMENT):
        return False
