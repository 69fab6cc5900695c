"""What became of everything that was asked for, step by step, with reasons."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from xpaste_ray.html_report.blocks import Cell, Column, Section, Table
from xpaste_ray.html_report.counting import reasons_text, share
from xpaste_ray.html_report.given import KEPT, Given
from xpaste_ray.html_report.record import Made, Usable
from xpaste_ray.outcomes import Outcome, object_outcomes
from xpaste_ray.pool.cutout import UNUSABLE

_OF_CONTEXTS = ("images", "captions", "contexts")


@dataclass(frozen=True, slots=True)
class Step:
    """What a step lost, by reason."""

    name: str
    lost: Mapping[str, int]


def funnel(given: Given) -> Section | None:
    """None if nothing is known of what was lost."""
    tables = [*_of_run(given), *_of_pool(given), *_of_contexts(given), *_of_dataset(given)]
    note = "Kept and lost add up to what was made: nothing is dropped without a reason."
    return Section("funnel", "Funnel", tuple(tables), note) if tables else None


def _of_run(given: Given) -> Iterator[Table]:
    """Candidates and proposals of a run with scores and a pool."""
    if given.scores is None or given.pool is None:
        return
    candidates = pc.count_distinct(given.scores["candidate_id"]).as_py()
    yield _steps_table("Candidates: one image each", candidates, _candidate_steps(given, given.scores))
    proposals = int(given.scores["method"].is_valid().to_numpy().sum())
    yield _steps_table("Proposals: one mask each", proposals, _proposal_steps(given, given.scores))


def _proposal_steps(given: Given, scores: pa.Table) -> list[Step]:
    there = scores["method"].is_valid().to_numpy() & (given.outcomes != KEPT)
    own = pc.equal(scores["status"], "rejected").fill_null(False).to_numpy(zero_copy_only=False)
    before, after = (Counter(given.outcomes[there & which].tolist()) for which in (own, ~own))
    return [Step("masks and scores", before), *_choice(after)]


def _candidate_steps(given: Given, scores: pa.Table) -> list[Step]:
    """A candidate has the reason of its best row, and is lost where its last hope was."""
    ids = scores["candidate_id"]
    has_image = pc.equal(scores["candidate_status"], "ok")
    has_mask = pc.and_(has_image, pc.equal(scores["status"], "ok").fill_null(False))
    lost = given.rejects.filter(pc.equal(given.rejects["kind"], "candidate"))
    with_image, with_mask = (pc.is_in(lost["id"], ids.filter(which)) for which in (has_image, has_mask))

    def reasons(which: pa.ChunkedArray) -> Counter[str]:
        return Counter(lost["reason"].filter(which).to_pylist())

    return [
        Step("images", reasons(pc.invert(with_image))),
        Step("masks and scores", reasons(pc.and_(with_image, pc.invert(with_mask)))),
        *_choice(reasons(with_mask)),
    ]


def _choice(lost: Mapping[str, int]) -> list[Step]:
    """What was usable until it was selected, or cut out."""
    cut = {reason: count for reason, count in lost.items() if reason in UNUSABLE}
    selected = {reason: count for reason, count in lost.items() if reason not in UNUSABLE}
    return [Step("selection", selected), Step("cutting out", cut)]


def _of_pool(given: Given) -> Iterator[Table]:
    """A pool without a run: what was imported or merged, and what was not."""
    if given.pool is None or given.scores is not None:
        return
    lost = Counter(given.rejects["reason"].to_pylist())
    yield _steps_table("Instances", len(given.pool) + lost.total(), [Step("import or merge", lost)])


def _of_contexts(given: Given) -> Iterator[Table]:
    """By the counts of a run of contexts, whose parts are runs of their own."""
    if given.has_contexts:
        told = ((kind, getattr(given.counts, kind)) for kind in _OF_CONTEXTS)
        kinds = [
            Outcome(kind, one.made, one.kept, one.rejected) for kind, one in told if isinstance(one, Made)
        ]
        yield _outcome_table("Contexts", kinds)


def _of_dataset(given: Given) -> Iterator[Table]:
    if given.composed is None:
        return
    told = ((what, getattr(given.counts, what)) for what in ("backgrounds", "contexts"))
    images = [_images(what, one) for what, one in told if isinstance(one, Usable)]
    objects = object_outcomes(given.composed.counts)
    yield _outcome_table("Objects of the dataset, and images to paste on", [*objects, *images])


def _images(what: str, told: Usable) -> Outcome:
    rejected: Counter[str] = Counter()
    for name, one in told.rejected.items():
        rejected.update({one: 1} if isinstance(one, str) else {name: one})
    return Outcome(what, told.usable + rejected.total(), told.usable, rejected)


def _steps_table(title: str, made: int, steps: Sequence[Step]) -> Table:
    columns = (
        Column("step", "text"), Column("lost"), Column("left"), Column("of all", "share"),
        Column("why", "text"),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = [("asked for", None, made, share(made, made), "")]
    left = made
    for step in steps:
        lost = sum(step.lost.values())
        left -= lost
        rows.append((step.name, lost, left, share(left, made), reasons_text(step.lost)))
    return Table(title, columns, tuple(rows))


def _outcome_table(title: str, outcomes: Sequence[Outcome]) -> Table:
    columns = (
        Column("", "text"), Column("made"), Column("kept"), Column("of all", "share"),
        Column("lost, and why", "text"),
    )  # fmt: skip
    rows = tuple(
        (one.what, one.made, one.kept, share(one.kept, one.made), reasons_text(one.rejected))
        for one in outcomes
    )
    return Table(title, columns, rows)
