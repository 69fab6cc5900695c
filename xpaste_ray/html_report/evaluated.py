"""How good a detector is: what `xpaste evaluate` found, in a run of its own or beside a study's training."""

from xpaste_ray.errors import ConfigError
from xpaste_ray.evaluation import CategoryScores, Evaluation, Scores
from xpaste_ray.html_report.blocks import Column, Section, Table
from xpaste_ray.html_report.given import Given
from xpaste_ray.runs import read_json

_BUCKETS = {
    "ap": "AP", "ap50": "AP50", "ap75": "AP75", "small": "small", "medium": "medium", "large": "large",
    "rare": "rare", "common": "common", "frequent": "frequent",
}  # fmt: skip
_PLACES = ("evaluation.json", "evaluation/evaluation.json")


def evaluated(given: Given) -> Section | None:
    """None where nothing was evaluated."""
    for place in _PLACES:
        file = given.folder / place
        if file.is_file():
            try:
                found = Evaluation.from_json(read_json(file))
            except (KeyError, TypeError) as error:
                raise ConfigError(
                    f"{file} is damaged, or of another version ({error}): run `xpaste evaluate` again"
                ) from None
            return Section("evaluation", "Evaluation", (_together(found), _by_category(found)))
    return None


def _together(found: Evaluation) -> Table:
    columns = (Column("", "text"), *(Column(title) for title in _BUCKETS.values()))
    rows = tuple((name, *_percents(one)) for name, one in (("masks", found.segm), ("boxes", found.bbox)))
    return Table("Average precision, %", columns, rows, "Nothing where the truth has no such object.")


def _percents(scores: Scores) -> tuple[float | None, ...]:
    return tuple(_percent(getattr(scores, name)) for name in _BUCKETS)


def _by_category(found: Evaluation) -> Table:
    """The worst first: what more data would help."""
    columns = (
        Column("category", "text"), Column("id", "id"), Column("frequency", "text"), Column("images"),
        Column("objects"), Column("mask AP, %"), Column("box AP, %"),
    )  # fmt: skip
    told = [one for one in found.categories if one.ap_segm is not None]
    rows = tuple(_row(one) for one in sorted(told, key=lambda one: (one.ap_segm or 0.0, one.id)))
    return Table("By category", columns, rows, "The worst first.", folded=len(rows) > _MOST)


_MOST = 40


def _row(one: CategoryScores) -> tuple[str | int | float | None, ...]:
    scores = _percent(one.ap_segm), _percent(one.ap_bbox)
    return (one.name, one.id, one.frequency or "", one.images, one.instances, *scores)


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 1)
