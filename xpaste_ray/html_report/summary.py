"""The figures that matter, first."""

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from xpaste_ray.html_report.blocks import Figure, Figures, Section
from xpaste_ray.html_report.counting import share
from xpaste_ray.html_report.given import Given
from xpaste_ray.html_report.record import Made


def summary(given: Given) -> Section | None:
    """None for what has its figures in a section of its own, such as a study."""
    figures = (*_of_pool(given), *_of_contexts(given), *_of_dataset(given), *_of_run(given))
    note = "" if given.is_finished else "The run is not finished: this is what is there so far."
    if not figures and not note:
        return None
    return Section("summary", "Summary", (Figures(figures),), note)


def _of_pool(given: Given) -> Iterator[Figure]:
    if given.pool is not None:
        yield Figure("instances", len(given.pool), "in the pool")
    if given.scores is not None:
        asked = pc.count_distinct(given.scores["candidate_id"]).as_py()
        yield Figure("candidates", asked, "asked for")
        if given.pool is not None:
            yield Figure("yield", share(len(given.pool), asked), "instances of candidates", "share")
    if given.pool is not None:
        names = given.pool.categories
        yield Figure("categories", len(given.pool.rows_by_category), f"of {len(names):,} have instances")
        scores = given.pool.column("clip_logit").to_numpy()
        known = scores[np.isfinite(scores)]
        if len(known):
            yield Figure("median clip_logit", float(np.median(known)), "of the instances")


def _of_contexts(given: Given) -> Iterator[Figure]:
    told = given.counts.contexts
    if isinstance(told, Made):
        yield Figure("contexts", told.kept, f"kept of {told.made:,} that were made")


def _of_dataset(given: Given) -> Iterator[Figure]:
    composed = given.composed
    if composed is None:
        return
    yield Figure("images", composed.spec.count, ", ".join(composed.spec.formats))
    yield Figure("annotations", len(composed.category), f"{int(composed.pasted.sum()):,} of them pasted")
    yield Figure("annotations an image", float(composed.objects.mean()))
    yield Figure("backgrounds", composed.backgrounds, "different ones used")
    shown = len(np.unique(composed.category))
    yield Figure("annotated categories", shown, f"of {len(composed.spec.categories):,}")


def _of_run(given: Given) -> Iterator[Figure]:
    if given.record.times:
        seconds = sum(sitting.wall_s for sitting in given.record.times)
        yield Figure("seconds", seconds, "wall time of all sittings")
