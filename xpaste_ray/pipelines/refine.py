"""F-EM over a run: its score table and its features in, what is chosen out. No model is needed."""

from collections.abc import Iterable, Sequence

import numpy as np

from xpaste_ray.config import ResourceSettings
from xpaste_ray.config.em import EmSettings
from xpaste_ray.foregrounds import COLUMNS, Chosen, Refined, Task, choose, refine
from xpaste_ray.pipelines.features import (
    ROWS_PER_GROUP,
    FeatureFile,
    feature_file,
    features_recipe,
    write_features,
)
from xpaste_ray.pipelines.job import Progress, start_ray
from xpaste_ray.pipelines.scores import read_scores
from xpaste_ray.runs import RunDir
from xpaste_ray.storage import Location

_SEGMENTS_FOR_RAY = 500_000  # fewer are done about as soon as Ray has started


def choose_foregrounds(
    run: RunDir, settings: EmSettings, recipe: str, resources: ResourceSettings, progress: Progress
) -> Chosen:
    """Choose among the segments of a run whose score table is there, see `foregrounds.choose`.

    Few categories are worked on here, many on Ray, with the same bytes. recipe: the fingerprint of the step
    that made the unit files; features that were gathered from them before are read again, whatever the
    settings. FileNotFoundError if there is no score table; SchemaError if it, or a unit file, is not whole.
    """
    scores = read_scores(run, COLUMNS)

    def refine_map(tasks: Sequence[Task]) -> Iterable[Refined]:
        segments = [task.segments for task in tasks]
        write_features(run, scores, segments, features_recipe(run, recipe), progress)
        count = sum(len(one.rows) for one in segments)
        progress.say(f"choosing among {count:,} segments of {len(tasks)} categories")
        if len(tasks) < 2 or count < _SEGMENTS_FOR_RAY:
            return [_refine(run, task, settings) for task in tasks]
        from xpaste_ray.pipelines.nodes import check_shared
        from xpaste_ray.pipelines.refining import refine_on_ray

        start_ray(resources, progress)
        check_shared(run.root, "the run")
        return refine_on_ray([arguments(run, task) for task in tasks], settings)

    return choose(scores, settings, refine_map)


def _refine(run: RunDir, task: Task, settings: EmSettings) -> Refined:
    return refine_file(*arguments(run, task), settings)


def arguments(run: RunDir, task: Task) -> tuple[Location, np.ndarray, np.ndarray]:
    """What `refine_file` takes: little, as it may go to another process."""
    segments = task.segments
    return feature_file(run, segments.category_id), np.bincount(segments.image_of), task.initial


def refine_file(features: Location, sizes: np.ndarray, initial: np.ndarray, settings: EmSettings) -> Refined:
    """The loop of one category, from its file. sizes: (images,) segments of each image."""
    image_of = np.repeat(np.arange(len(sizes)), sizes)
    return refine(FeatureFile(features), image_of, initial, settings, ROWS_PER_GROUP)
