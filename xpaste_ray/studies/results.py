"""What a study found: the scores of every training, and what follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xpaste_ray.studies.statistics import MEASURES, Difference, Measure, Summary, difference, summary

Scores = Mapping[str, Mapping[str, float | None]]
"""By kind (`segm`, `bbox`) and name (`ap`, ...), in [0, 1]; None where the test has no such object."""


@dataclass(frozen=True, slots=True)
class TrainedOnce:
    """A training that is done. folder: its run's, relative to the study's. validated: what validation found
    while it trained, as (iteration, mask AP)."""

    folder: str
    scores: Scores
    validated: tuple[tuple[int, float | None], ...] = ()


@dataclass(frozen=True, slots=True)
class ArmResults:
    """name, and the trainings that are done, by seed."""

    name: str
    trained: Mapping[int, TrainedOnce]

    def values(self, measure: Measure) -> dict[int, float]:
        """By seed, of those that have it."""
        told = {
            seed: one.scores[measure.kind].get(measure.name) for seed, one in sorted(self.trained.items())
        }
        return {seed: value for seed, value in told.items() if value is not None}

    def summary(self, measure: Measure) -> Summary:
        return summary(list(self.values(measure).values()))


@dataclass(frozen=True, slots=True)
class StudyResults:
    """arms: in the study's order. seeds: that each is to have."""

    name: str
    title: str
    seeds: tuple[int, ...]
    baseline: str | None
    arms: tuple[ArmResults, ...]

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Those of which any training has a value."""
        return tuple(one for one in MEASURES if any(arm.values(one) for arm in self.arms))

    def difference(self, arm: ArmResults, measure: Measure) -> Difference | None:
        """From the baseline; None for itself, and where there is none."""
        if self.baseline is None or arm.name == self.baseline:
            return None
        base = next(one for one in self.arms if one.name == self.baseline)
        return difference(arm.values(measure), base.values(measure))

    def to_json(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """`study.json`. All scores are in [0, 1].

        {"kind": "xpaste study", "format": 1, "name", "title", "settings" (the study as it was read),
         "seeds": [0, 1], "baseline": "real" or null, "measures": [{"key": "segm.ap", "title": "mask AP"}],
         "arms": [{"name", "runs": [{"seed", "folder", "scores": {"segm.ap": 0.31 or null},
                                     "validated": [[iteration, mask AP or null]]}],
                   "summary": {"segm.ap": {"n", "mean", "std"}},
                   "difference": {"segm.ap": {"n", "mean", "low", "high"}}}]}

        A measure that no training has a value of is not in it; `difference` is empty for the baseline. An arm
        has fewer runs than there are seeds while the study is not finished.
        """
        return {
            "kind": KIND,
            "format": 1,
            "name": self.name,
            "title": self.title,
            "settings": dict(settings),
            "seeds": list(self.seeds),
            "baseline": self.baseline,
            "measures": [{"key": one.key, "title": one.title} for one in self.measures],
            "arms": [self._arm_json(arm) for arm in self.arms],
        }

    def _arm_json(self, arm: ArmResults) -> dict[str, Any]:
        found = {one.key: self.difference(arm, one) for one in self.measures}
        return {
            "name": arm.name,
            "runs": [
                {
                    "seed": seed,
                    "folder": one.folder,
                    "scores": {m.key: one.scores[m.kind].get(m.name) for m in self.measures},
                    "validated": [list(pair) for pair in one.validated],
                }
                for seed, one in sorted(arm.trained.items())
            ],
            "summary": {one.key: asdict(arm.summary(one)) for one in self.measures},
            "difference": {key: asdict(one) for key, one in found.items() if one is not None},
        }


KIND = "xpaste study"


def results_of(
    name: str,
    title: str,
    seeds: Sequence[int],
    baseline: str | None,
    trained: Mapping[str, Mapping[int, TrainedOnce]],
) -> StudyResults:
    """trained: by arm, in order, and seed."""
    arms = tuple(ArmResults(arm, dict(by_seed)) for arm, by_seed in trained.items())
    return StudyResults(name, title, tuple(seeds), baseline, arms)
