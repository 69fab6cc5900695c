"""Score columns as arrays of numbers: names are numbered, so that nothing after this compares text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.config import SelectSettings
from xpaste_ray.records import SCORES, check_schema

ALWAYS = (
    "round", "unit", "candidate_id", "category_id", "category", "index", "candidate_reason", "method",
    "ordinal", "status", "reason", "area_fraction",
)  # fmt: skip
"""What any rule reads, and passes on of what it keeps."""


def columns_of(rule: SelectSettings) -> tuple[str, ...]:
    """The columns of `SCORES` that the rule reads, and those of `kept_columns`."""
    asked = {
        "real_similarity": rule.min_real_similarity is not None,
        "nsfw": rule.max_nsfw is not None,
        "aesthetic": rule.min_aesthetic is not None,
        "overlaps": rule.proposals == "many",
    }
    return (*kept_columns(rule), *(name for name, is_asked in asked.items() if is_asked))


def kept_columns(rule: SelectSettings) -> tuple[str, ...]:
    """Those that are passed on of what is kept."""
    return (*ALWAYS, rule.score)


@dataclass(frozen=True, slots=True)
class Columns:
    """A value for each of the N rows. `candidate` counts in the order of the candidates' ids (as UTF-8
    bytes), `category` in that of the categories' ids.

    place: (N,) int64, method by name, then ordinal; -1 without a proposal. score: (N,) float32, -inf where
    there is none that counts: not scored, rejected, or no finite number.
    """

    candidate: np.ndarray
    category: np.ndarray
    index: np.ndarray
    place: np.ndarray
    score: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        usable: np.ndarray = np.isfinite(self.score)
        return usable

    @property
    def candidates(self) -> int:
        return int(self.candidate.max(initial=-1)) + 1

    def best_first(self, rows: np.ndarray) -> np.ndarray:
        """Those rows by category, in each the higher score first. Ties go to the first method by name, then
        to the lower ordinal, then to the first id."""
        keys = (self.candidate[rows], self.place[rows], -self.score[rows], self.category[rows])
        return rows[np.lexsort(keys)]

    def pool_order(self) -> np.ndarray:
        """All rows by category, index, candidate, method and ordinal."""
        of_candidate = np.zeros(self.candidates, np.int64)  # any of its rows: they agree in what is asked
        of_candidate[self.candidate] = np.arange(len(self.candidate))
        order = np.lexsort(
            (self.index[of_candidate], self.category[of_candidate])
        )  # stable: equals stay by id
        position = np.empty(self.candidates, np.int64)
        position[order] = np.arange(self.candidates)
        return np.argsort(
            position[self.candidate] * (self.place.max(initial=-1) + 2) + self.place, kind="stable"
        )


def read_columns(scores: pa.Table, rule: SelectSettings) -> Columns:
    """Of rows of `SCORES`; columns that the rule does not read may be missing. SchemaError for the others."""
    return columns_from(scores, columns_of(rule), rule.score)


def columns_from(scores: pa.Table, names: Sequence[str], score_name: str) -> Columns:
    """Of rows of `SCORES` that have the columns `names`, the score among them. SchemaError if they do not."""
    expected = pa.schema([SCORES.field(name) for name in names])
    given = [name for name in scores.schema.names if name in names]
    check_schema(pa.schema([scores.schema.field(name) for name in given]), expected, "select")
    score = numbers(scores, score_name)
    usable = pc.equal(scores["status"], "ok").fill_null(False).to_numpy() & np.isfinite(score)
    methods = numbered(scores["method"])
    ordinals = pc.fill_null(scores["ordinal"], 0).to_numpy().astype(np.int64)
    place = methods * (ordinals.max(initial=0) + 1) + ordinals
    return Columns(
        candidate=numbered(scores["candidate_id"]),
        category=numbered(scores["category_id"]),
        index=scores["index"].to_numpy(),
        place=np.where(methods < 0, -1, place),
        score=np.where(usable, score, np.float32(-np.inf)),
    )


def numbers(scores: pa.Table, name: str) -> np.ndarray:
    """(N,) float32, NaN where the column has null."""
    values: np.ndarray = scores[name].to_numpy().astype(np.float32, copy=False)
    return values


def numbered(column: pa.ChunkedArray) -> np.ndarray:
    """(N,) int32: every value's number among the different ones, ascending; -1 for null."""
    encoded = pc.dictionary_encode(column.combine_chunks())
    ranks = np.empty(len(encoded.dictionary) + 1, np.int32)
    ranks[pc.array_sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(encoded.dictionary))
    ranks[-1] = -1
    indices = pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy()
    found: np.ndarray = ranks[indices]
    return found
