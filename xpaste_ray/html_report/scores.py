"""How the scores are spread, beside the limits that a selection sets them."""

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from xpaste_ray.config import SelectSettings
from xpaste_ray.html_report.blocks import Histogram, Mark, Section
from xpaste_ray.html_report.counting import histogram
from xpaste_ray.html_report.given import KEPT, Given
from xpaste_ray.pool.stats import scores_of
from xpaste_ray.records import SCORE_NAMES

_LIMITS = {
    "real_similarity": ("min_real_similarity",),
    "nsfw": ("max_nsfw",),
    "aesthetic": ("min_aesthetic",),
    "area_fraction": ("min_area_fraction", "max_area_fraction"),
}


def score_histograms(given: Given) -> Section | None:
    """The score that decides first. None if nothing has a score."""
    rule = given.rule
    decides = rule.score if rule else "clip_logit"
    names = sorted((*SCORE_NAMES, "area_fraction"), key=lambda name: name != decides)
    found = [one for name in names for one in _histogram(given, name, _marks(rule, name))]
    note = _note(rule) if given.scores is not None else "Of the instances; the rejected ones are not kept."
    return Section("scores", "Scores", tuple(found), note) if found else None


def _histogram(given: Given, name: str, marks: tuple[Mark, ...]) -> Iterator[Histogram]:
    groups = _of_proposals(given, name) if given.scores is not None else _of_instances(given, name)
    shown = histogram(name, name, groups, marks) if groups else None
    if shown:
        yield shown


def _of_proposals(given: Given, name: str) -> dict[str, np.ndarray]:
    """Of masks that are usable, whether they were kept or not."""
    assert given.scores is not None
    usable = pc.equal(given.scores["status"], "ok").fill_null(False).to_numpy(zero_copy_only=False)
    values, kept = given.scores[name].to_numpy().astype(float), given.outcomes == KEPT
    return {"kept": values[kept & usable], "rejected": values[~kept & usable]}


def _of_instances(given: Given, name: str) -> dict[str, np.ndarray]:
    if given.pool is None:
        return {}
    if name == "area_fraction":
        return {"kept": given.pool.column(name).to_numpy().astype(float)}
    return {"kept": scores_of(given.pool, name)}


def _marks(rule: SelectSettings | None, name: str) -> tuple[Mark, ...]:
    """The limits of the rule for that score, those that are set."""
    if rule is None:
        return ()
    limits = {limit: getattr(rule, limit) for limit in _LIMITS.get(name, ())}
    if name == rule.score:
        is_bar = rule.rule == "bar"
        limits |= (
            {"min_clip_logit": rule.min_clip_logit} if is_bar else {"100 x min_cosine": 100 * rule.min_cosine}
        )
    return tuple(Mark(f"{limit} {one:g}", float(one)) for limit, one in limits.items() if one is not None)


def _note(rule: SelectSettings | None) -> str:
    if rule is None or rule.rule != "bar":
        return "Of the masks that are usable, one count each."
    return (
        "Of the masks that are usable, one count each. A category's bar is the lower one of min_clip_logit "
        f"and its best score less the tolerance of {rule.tolerance:g}, so some are kept below the line."
    )
