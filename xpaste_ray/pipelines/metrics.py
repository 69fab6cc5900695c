"""What actors tell Prometheus, through Ray: rows by outcome, seconds of units and of model loads.

Ray's agent on each node serves them; it puts `ray_` before each name.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from xpaste_ray.records import Candidate

if TYPE_CHECKING:
    from ray.util import metrics

ROWS = "xpaste_rows_total"  # tags: stage, status ("ok" or "rejected"), reason
STAGE_SECONDS = "xpaste_stage_seconds_total"  # tag: stage
LOAD_SECONDS = "xpaste_model_load_seconds_total"  # tag: stage

Outcome = tuple[str, str]  # status, reason: "" where there is none


class RayRecorder:
    """Records in the process that it is called in; the metrics are made there.

    Counters, not histograms: Ray 2.60 hands on a histogram's buckets only, and makes its sum up from
    their middles.
    """

    def loaded(self, stage: str, seconds: float) -> None:
        self._counters[LOAD_SECONDS].inc(seconds, {"stage": stage})

    def ran(self, stage: str, given: Sequence[Candidate], done: Sequence[Candidate], seconds: float) -> None:
        self._counters[STAGE_SECONDS].inc(seconds, {"stage": stage})
        for (status, reason), rows in outcomes(given, done).items():
            self._counters[ROWS].inc(rows, {"stage": stage, "status": status, "reason": reason})

    @cached_property
    def _counters(self) -> "dict[str, metrics.Counter]":
        from ray.util.metrics import Counter

        return {
            ROWS: Counter(ROWS, "Candidates that a stage worked on.", ("stage", "status", "reason")),
            STAGE_SECONDS: Counter(STAGE_SECONDS, "Seconds that actors were busy.", ("stage",)),
            LOAD_SECONDS: Counter(LOAD_SECONDS, "Seconds that actors loaded models.", ("stage",)),
        }


def outcomes(given: Sequence[Candidate], done: Sequence[Candidate]) -> Counter[Outcome]:
    """What became of the candidates that a stage got in a usable state; the others were counted by the
    stage that rejected them."""
    pairs = zip(given, done, strict=True)
    return Counter(_outcome(after) for before, after in pairs if _outcome(before)[0] == "ok")


def _outcome(candidate: Candidate) -> Outcome:
    """A candidate whose proposals are all rejected counts as rejected, for the first one's reason."""
    if candidate.status != "ok":
        return candidate.status, candidate.reason or ""
    rejected = [proposal for proposal in candidate.proposals if proposal.status != "ok"]
    if rejected and len(rejected) == len(candidate.proposals):
        return "rejected", rejected[0].reason or ""
    return "ok", ""
