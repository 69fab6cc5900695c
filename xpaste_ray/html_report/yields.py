"""How many instances, and objects of the dataset, each category has; and each class of frequency."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.categories import Category
from xpaste_ray.html_report.blocks import Cell, Column, Section, Table
from xpaste_ray.html_report.counting import counted, share, told_columns
from xpaste_ray.html_report.given import KEPT, Given
from xpaste_ray.pool import Pool
from xpaste_ray.pool.stats import scores_of

_FREQUENCIES = {"f": "frequent", "c": "common", "r": "rare", None: "not told"}
_FEW = 24  # categories, of which one table is enough
_ENDS = 10


@dataclass(frozen=True, slots=True)
class Yield:
    """Of one category; None where nothing is known. asked: candidates. median: of its instances' scores. why:
    the reason of most candidates that were lost. objects: pasted ones of the dataset."""

    category: Category
    asked: int | None = None
    instances: int | None = None
    median: float | None = None
    why: str = ""
    objects: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it has no instance; in a dataset whose pool is not known, no object."""
        return not (self.objects if self.instances is None else self.instances)


def yields(given: Given) -> Section | None:
    """None if there is neither a pool nor a dataset."""
    found = yields_of(given)
    if not found:
        return None
    tables = [_by_frequency(found), *_by_source(given), *_ends(found)]
    tables.append(_table("By category", found, folded=len(found) > _FEW))
    return Section("yield", "Yield", tuple(tables))


def yields_of(given: Given) -> list[Yield]:
    """By the categories' ids: those of the dataset, where there is one."""
    composed = given.composed
    found: dict[int, Yield] = {}
    if given.pool is not None:
        named = given.pool.in_vocabulary(composed.spec.categories) if composed else given.pool
        for one, known in zip(_of_pool(given, given.pool), named.categories, strict=True):
            found[known.id] = replace(one, category=known)
    if composed is not None:
        objects = counted(composed.category[composed.pasted])
        for known in composed.spec.categories:
            one = found.get(known.id, Yield(known))
            found[known.id] = replace(one, objects=objects.get(known.id, 0))
    return [found[number] for number in sorted(found)]


def _of_pool(given: Given, pool: Pool) -> Iterator[Yield]:
    """Of its categories, in its order."""
    asked = _Asked() if given.scores is None else _asked(given, given.scores)
    scores = scores_of(pool, "clip_logit")
    for category in pool.categories:
        rows = pool.rows_by_category.get(category.id, np.array([], int))
        known = scores[rows][np.isfinite(scores[rows])]
        yield Yield(
            category=category,
            asked=None if given.scores is None else asked.candidates[category.id],
            instances=len(rows),
            median=float(np.median(known)) if len(known) else None,
            why=asked.reasons.get(category.name, ""),
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """candidates: by category id. reasons: why most of a category's were lost, by its name."""

    candidates: Counter[int] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)


def _asked(given: Given, scores: pa.Table) -> _Asked:
    candidates = scores.group_by("category_id").aggregate([("candidate_id", "count_distinct")])
    lost = given.rejects.filter(pc.equal(given.rejects["kind"], "candidate"))
    told = lost.group_by(["category", "reason"]).aggregate([([], "count_all")]).to_pylist()
    told.sort(key=lambda row: (row["count_all"], row["reason"]))  # of equals, the last by name
    return _Asked(
        Counter({row["category_id"]: row["candidate_id_count_distinct"] for row in candidates.to_pylist()}),
        {row["category"]: f"{row['reason']} {row['count_all']:,}" for row in told},
    )


def _by_frequency(found: Sequence[Yield]) -> Table:
    """LVIS's classes, and those of which it is not told."""
    columns = (Column("frequency", "text"), Column("categories"), Column("without any"), *_COUNTED)
    groups = [
        (name, [one for one in found if one.category.frequency == letter])
        for letter, name in _FREQUENCIES.items()
    ]
    rows = [
        (name, len(own), sum(one.is_empty for one in own), *_sums(own))
        for name, own in (*groups, ("all", found))
        if own
    ]
    return Table("By frequency", *told_columns(columns, rows))


_COUNTED = (
    Column("candidates"), Column("instances"), Column("instances of candidates", "share"),
    Column("pasted objects"),
)  # fmt: skip


def _sums(found: Sequence[Yield]) -> tuple[Cell, ...]:
    """What `_COUNTED` says."""
    asked, instances, objects = (
        _sum([getattr(one, name) for one in found]) for name in ("asked", "instances", "objects")
    )
    return asked, instances, _ratio(instances, asked), objects


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _ratio(part: int | None, whole: int | None) -> float | None:
    return None if part is None or whole is None else share(part, whole)


def _by_source(given: Given) -> list[Table]:
    if given.scores is None:
        return []
    kept = pa.array(given.outcomes == KEPT)
    table = given.scores.select(["source", "candidate_id"]).append_column("kept", kept)
    told = table.group_by("source").aggregate([("candidate_id", "count_distinct"), ("kept", "sum")])
    rows = [
        (row["source"], row["candidate_id_count_distinct"], row["kept_sum"],
         share(row["kept_sum"], row["candidate_id_count_distinct"]))
        for row in sorted(told.to_pylist(), key=lambda row: row["source"])
    ]  # fmt: skip
    return [Table("By source", (Column("source", "text"), *_COUNTED[:3]), tuple(rows))]


def _ends(found: Sequence[Yield]) -> Iterator[Table]:
    """Of many categories those with the most, and with the fewest, unless all have as many."""
    names = {"instances": "instances", "objects": "pasted objects"}
    for name, title in names.items():
        known = [(getattr(one, name), one) for one in found if getattr(one, name) is not None]
        if len(known) <= _FEW or len({count for count, _ in known}) == 1:
            continue
        most = sorted(known, key=lambda one: (-one[0], one[1].category.id))
        columns = (Column("category", "text"), Column("frequency", "text"), Column(title))
        for what, some in (("Most", most[:_ENDS]), ("Fewest", most[: -_ENDS - 1 : -1])):
            rows = tuple(
                (one.category.name, _FREQUENCIES[one.category.frequency], count) for count, one in some
            )
            yield Table(f"{what} {title}", columns, rows, half=True)


def _table(title: str, found: Sequence[Yield], folded: bool = False) -> Table:
    columns = (
        Column("id", "id"), Column("category", "text"), Column("frequency", "text"), *_COUNTED,
        Column("median clip_logit"), Column("most lost to", "text"),
    )  # fmt: skip
    rows = [
        (one.category.id, one.category.name, _FREQUENCIES[one.category.frequency], *_sums([one]), one.median,
         one.why)
        for one in found
    ]  # fmt: skip
    return Table(title, *told_columns(columns, rows), folded=folded)
