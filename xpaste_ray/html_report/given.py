"""What a report is of: a folder that a command made, opened as far as its sections ask."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ValidationError

from xpaste_ray.config import SelectSettings
from xpaste_ray.errors import ConfigError, SchemaError
from xpaste_ray.formats.contract import SPEC_FILE, refuse_relative_of_dataset
from xpaste_ray.html_report.composed import Composed, read_composed
from xpaste_ray.html_report.record import Counts, Record
from xpaste_ray.pool import Pool, open_pool
from xpaste_ray.pool.layout import MANIFEST, REJECTS_FILE
from xpaste_ray.records import REJECTS, SCORE_NAMES, instance_ids
from xpaste_ray.runs import RunDir, open_parquet, read_json
from xpaste_ray.storage import Location, locate

CONTEXTS_FILE = "contexts.json"
STUDY_FILE = "study.json"

MARKS = ("run.json", "pool.json", MANIFEST, SPEC_FILE, STUDY_FILE)
"""Files of which a folder that a report can tell of has one."""

PARTS = ("foregrounds", "contexts", "dataset")
"""Folders of `xpaste demo --preset empaste-demo`, each told of in a chapter."""

KEPT = "kept"

_SCORE_COLUMNS = (
    "round", "unit", "candidate_id", "category_id", "category", "index", "candidate_status",
    "candidate_reason", "source", "method", "ordinal", "status", "reason", "area_fraction", *SCORE_NAMES,
)  # fmt: skip


T = TypeVar("T", bound=BaseModel)


class Given:
    """A folder, and what is in it, read once. Whatever is not there is None, or empty."""

    def __init__(self, folder: Location) -> None:
        self.folder, self.run = folder, RunDir(folder)

    @property
    def name(self) -> str:
        """Not where it lies: a report may be given away."""
        return self.folder.name

    @cached_property
    def record(self) -> Record:
        """`run.json`, empty if there is none."""
        if not self.run.run_json.is_file():
            return Record()
        return self._valid(Record, read_json(self.run.run_json))

    @property
    def counts(self) -> Counts:
        return self.record.counts or Counts()

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Of the run; of its selection, those of the current one."""
        chosen = self.record.selection.settings if self.record.selection else {}
        return {**self.record.settings, **{key: one for key, one in chosen.items() if key in _CHOSEN}}

    def setting(self, kind: type[T], *path: str) -> T | None:
        """Of the settings; None if they have none there."""
        value: Any = self.settings
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return None if value is None else self._valid(kind, value)

    def _valid(self, kind: type[T], value: object) -> T:
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigError(
                f"{self.run.run_json} is damaged, or of another version ({where}: {first['msg']}): "
                "run the command that made it again"
            ) from None

    @property
    def is_finished(self) -> bool:
        """What is no run cannot be interrupted."""
        return self.record.counts is not None or not self.run.run_json.is_file()

    @cached_property
    def rule(self) -> SelectSettings | None:
        """That of the selection; None where nothing is selected by one, as in `xpaste foregrounds`."""
        return self.setting(SelectSettings, "select") if self.scores is not None else None

    @property
    def has_contexts(self) -> bool:
        """Whether it is a run of `xpaste contexts` that got to its end."""
        return (self.folder / CONTEXTS_FILE).is_file()

    @cached_property
    def pool(self) -> Pool | None:
        """The run's current one, or the folder itself."""
        if not (self.run.pool_json.is_file() or (self.folder / MANIFEST).is_file()):
            return None
        with readable(self.folder):
            return open_pool(self.folder)

    @cached_property
    def scores(self) -> pa.Table | None:
        """Rows of `records.SCORES`."""
        if not self.run.scores.is_file():
            return None
        with readable(self.run.scores):
            return open_parquet(self.run.scores).read(columns=list(_SCORE_COLUMNS))

    @cached_property
    def rejects(self) -> pa.Table:
        """Rows of `records.REJECTS`."""
        places = [self.run.rejects]
        if self.pool is not None:
            places.append(locate(self.pool.folder) / REJECTS_FILE)
        for place in places:
            if place.is_file():
                with readable(place):
                    return open_parquet(place).read(columns=REJECTS.names)
        return REJECTS.empty_table()

    @cached_property
    def outcomes(self) -> np.ndarray:
        """(N,) str: `kept`, or the reason why not, of each row of `scores`; "" where none is told, as of a
        run that is not finished."""
        assert self.scores is not None
        ids = self.row_ids
        reasons = self.rejects["reason"].combine_chunks().take(pc.index_in(ids, self.rejects["id"]))
        kept = pa.array(self.pool.instance_ids if self.pool else [], pa.string())
        told = pc.if_else(pc.is_in(ids, kept), pa.scalar(KEPT), reasons)
        return np.asarray(pc.fill_null(told, "").to_numpy(zero_copy_only=False), object)

    @cached_property
    def row_ids(self) -> pa.ChunkedArray:
        """Of each row of `scores`: its instance's, or its candidate's if it has no proposal."""
        assert self.scores is not None
        named = instance_ids(*(self.scores[name] for name in ("candidate_id", "method", "ordinal")))
        return pc.coalesce(named, self.scores["candidate_id"])

    @cached_property
    def composed(self) -> Composed | None:
        """The dataset that the folder is, or holds. Datasets lie on disks only."""
        if not self.folder.is_local:
            return None
        for place in (self.folder.path, self.folder.path / "dataset"):
            if (place / SPEC_FILE).is_file():
                return read_composed(place)
        return None


_CHOSEN = ("select", "cutout")
_MAKE_AGAIN = "restore it, or run the command that made it again"


@contextmanager
def readable(place: Location) -> Iterator[None]:
    """What cannot be read is the user's to mend: ConfigError names it."""
    try:
        yield
    except (OSError, pa.ArrowInvalid, SchemaError, KeyError, TypeError) as error:
        raise ConfigError(f"{place} is damaged ({error}): {_MAKE_AGAIN}") from None


def find_given(place: str) -> Sequence[Given]:
    """The folder, or its parts if it is a folder of several. ConfigError if a report cannot tell of it."""
    folder = locate(place)
    if _is_ours(folder):
        return [Given(folder)]
    parts = [folder / name for name in PARTS if _is_ours(folder / name)]
    if parts:
        return [Given(part) for part in parts]
    raise ConfigError(_unknown(folder))


def _is_ours(folder: Location) -> bool:
    return any((folder / mark).is_file() for mark in MARKS)


def _unknown(folder: Location) -> str:
    give = (
        "give what was --out of `xpaste demo`, `pool build`, `compose`, `foregrounds`, `contexts`, `train`, "
        "`evaluate` or `study`, or the folder of a pool or a dataset"
    )
    if not folder.exists():
        return f"{folder} does not exist: {give}"
    if not folder.is_dir():
        return f"{folder} is a file: {give}"
    if folder.is_local:
        refuse_relative_of_dataset(folder.path)
    return f"{folder} is nothing that a report tells of (it has none of {', '.join(MARKS)}): {give}"
