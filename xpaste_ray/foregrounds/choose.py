"""The whole rule of F-EM: what becomes of every proposal, and how that came about."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.config.em import EmSettings
from xpaste_ray.foregrounds.em import Iteration, Refined
from xpaste_ray.foregrounds.first_choice import first_choice
from xpaste_ray.foregrounds.segments import KEPT_COLUMNS, CategorySegments, segment_columns, segments_of
from xpaste_ray.selection.columns import Columns, numbers
from xpaste_ray.selection.outcome import KEPT, OWN, Selection, selection_of
from xpaste_ray.selection.overlaps import covered

_OUTCOMES = (KEPT, OWN, "not_chosen", "low_class_score", "overlap")
_CODES = {outcome: code for code, outcome in enumerate(_OUTCOMES)}


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """The loop of one category. initial: (images,) int64, what step 1 chose of its segments, or -1."""

    segments: CategorySegments
    initial: np.ndarray


RefineMap = Callable[[Sequence[Task]], Iterable[Refined]]
"""Does each category's loop, whoever and wherever; returns the results in order."""


@dataclass(frozen=True, slots=True)
class CategoryLog:
    """images: those with a segment. fallback: why step 1 decided alone, if it did."""

    category_id: int
    category: str
    images: int
    segments: int
    fallback: str | None
    iterations: tuple[Iteration, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """selection: what is kept, with `KEPT_COLUMNS`. logs: by category, in the order of their ids.

    candidate_ids: (C,) ascending. choices: (1 + iterations, C) int64, the row of the score table that each
    candidate's choice fell on, -1 for none: first in step 1, then after each iteration, whether it is kept at
    the end or not. A category that was done sooner keeps its last.
    """

    selection: Selection
    logs: tuple[CategoryLog, ...]
    candidate_ids: pa.Array
    choices: np.ndarray


def choose(scores: pa.Table, settings: EmSettings, refine_map: RefineMap) -> Chosen:
    """Decide every proposal of a table with `segments.COLUMNS`, each category by itself.

    Rows may stand in any order; only `overlaps` counts a candidate's rows as they stand. SchemaError for a
    missing column.
    """
    columns = segment_columns(scores)
    cam_distance = numbers(scores, "cam_distance")
    tasks = [
        _task(segments, cam_distance, columns.score, settings.nearest) for segments in segments_of(scores)
    ]
    results = list(refine_map(tasks))
    codes, chosen = _decide(columns, scores, settings, tasks, results)
    ranked = replace(columns, score=np.where(columns.usable, chosen, columns.score).astype(np.float32))
    logs = [_log(task, result) for task, result in zip(tasks, results, strict=True)]
    return Chosen(
        selection_of(ranked, scores, KEPT_COLUMNS, codes, _OUTCOMES),
        tuple(logs),
        pc.unique(scores["candidate_id"]).sort(),
        _choices(columns, tasks, results),
    )


def _task(
    segments: CategorySegments, cam_distance: np.ndarray, class_score: np.ndarray, nearest: int
) -> Task:
    rows, image_of = segments.rows, segments.image_of
    return Task(
        segments, first_choice(image_of, segments.images, cam_distance[rows], class_score[rows], nearest)
    )


def _decide(
    columns: Columns,
    scores: pa.Table,
    settings: EmSettings,
    tasks: Sequence[Task],
    results: Sequence[Refined],
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) uint8: the place in `_OUTCOMES` of what becomes of each row. (N,) bool: what the loop chose."""
    chosen, wanted = (np.zeros(len(columns.candidate), bool) for _ in range(2))
    distance = np.full(len(columns.candidate), np.inf, np.float32)
    for task, result in zip(tasks, results, strict=True):
        rows, last = task.segments.rows, result.choices[-1]
        chosen[rows[last[last >= 0]]] = True
        distance[rows] = result.distances
        wanted[rows] = result.distances <= result.reach
    wanted = chosen | wanted if settings.objects == "many" else chosen
    codes = np.where(columns.usable, _CODES["not_chosen"], _CODES[OWN]).astype(np.uint8)
    low = columns.score < np.float32(settings.min_class_score)
    codes[wanted] = np.where(low[wanted], _CODES["low_class_score"], _CODES[KEPT])
    if settings.objects == "many":
        first = replace(columns, score=np.where(chosen, np.float32(np.inf), -distance))
        most = settings.max_overlap_iou  # a part of an object is no other object, however small
        for _, rows in covered(first, scores["overlaps"], codes == _CODES[KEPT], most, most):
            codes[rows] = _CODES["overlap"]
    return codes, chosen


def _choices(columns: Columns, tasks: Sequence[Task], results: Sequence[Refined]) -> np.ndarray:
    steps = max((len(result.choices) for result in results), default=1)
    found = np.full((steps, columns.candidates), -1, np.int64)
    for task, result in zip(tasks, results, strict=True):
        rows, image_of = task.segments.rows, task.segments.image_of
        candidate = columns.candidate[rows[np.flatnonzero(np.diff(image_of, prepend=-1))]]
        for step in range(steps):
            choice = result.choices[min(step, len(result.choices) - 1)]
            found[step, candidate] = np.where(choice >= 0, rows[choice], -1)
    return found


def _log(task: Task, result: Refined) -> CategoryLog:
    segments = task.segments
    return CategoryLog(
        segments.category_id,
        segments.category,
        segments.images,
        len(segments.rows),
        result.fallback,
        result.log,
    )
