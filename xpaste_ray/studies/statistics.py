"""Means, spreads and paired differences over seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Measure:
    """kind: `segm` (masks) or `bbox` (boxes). name: of `evaluation.Scores`."""

    kind: str
    name: str

    @property
    def key(self) -> str:
        return f"{self.kind}.{self.name}"

    @property
    def title(self) -> str:
        what = {"segm": "mask", "bbox": "box"}[self.kind]
        return f"{what} {_TITLES[self.name]}"


_TITLES = {
    "ap": "AP", "ap50": "AP50", "rare": "AP rare", "common": "AP common", "frequent": "AP frequent",
}  # fmt: skip

MEASURES = tuple(Measure(kind, name) for kind in ("segm", "bbox") for name in _TITLES)


@dataclass(frozen=True, slots=True)
class Summary:
    """mean and std (the sample's, with n - 1) of n values; std is None for one, mean for none."""

    n: int
    mean: float | None
    std: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Of an arm from the baseline: the mean over the n seeds that both have, each with itself. low, high: the
    interval of Student's t that holds the true mean with `CONFIDENCE`, if the differences are normal; None
    for one seed."""

    n: int
    mean: float
    low: float | None
    high: float | None


def summary(values: Sequence[float]) -> Summary:
    if not values:
        return Summary(0, None, None)
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(len(values), float(np.mean(values)), std)


def difference(arm: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """Paired by seed: what of the spread is the seed's own is in both, and drops out. None without a common
    seed."""
    seeds = sorted(set(arm) & set(baseline))
    if not seeds:
        return None
    told = summary([arm[seed] - baseline[seed] for seed in seeds])
    assert told.mean is not None
    half = half_interval(told)
    if half is None:
        return Difference(told.n, told.mean, None, None)
    return Difference(told.n, told.mean, told.mean - half, told.mean + half)


def half_interval(told: Summary) -> float | None:
    """How far from it the true mean may be, with `CONFIDENCE` and by Student's t; None for one value."""
    if told.std is None:
        return None
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, told.n - 1)) * told.std / math.sqrt(told.n)
