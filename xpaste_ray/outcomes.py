"""What became of what was made: kept, or left out for a reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row of the closing tables: kept + all that was rejected, by reason, = made."""

    what: str
    made: int
    kept: int
    rejected: Mapping[str, int]

    @property
    def cells(self) -> tuple[str, str, str, str]:
        return self.what, str(self.made), str(self.kept), reasons(self.rejected)


def object_outcomes(dataset: Mapping[str, int]) -> list[Outcome]:
    """What became of the objects that were drawn, and of those that the backgrounds' images show.

    dataset: a dataset's counts. Drawn are those that were `placed` and those that were not
    (`skipped_...`).
    """
    skipped = {name: count for name, count in dataset.items() if name.startswith("skipped_")}
    pasted, own = skipped | _covered(dataset, ""), _covered(dataset, "background_")
    kept, seen = dataset.get("pasted_annotations", 0), dataset.get("background_objects", 0)
    outcomes = [Outcome("pasted objects", dataset.get("placed", 0) + sum(skipped.values()), kept, pasted)]
    if seen:
        outcomes.append(Outcome("background objects", seen, dataset["annotations"] - kept, own))
    return outcomes


def background_outcomes(counts: Mapping[str, Any]) -> list[Outcome]:
    """The images to paste on, and apart from them the contexts, if there are any. counts: a summary's."""
    found = {what: counts[what] for what in ("backgrounds", "contexts") if what in counts}
    return [
        Outcome(what, told["usable"] + sum(told["rejected"].values()), told["usable"], told["rejected"])
        for what, told in found.items()
    ]


def _covered(dataset: Mapping[str, int], prefix: str) -> dict[str, int]:
    """Objects of one kind that were painted or shown and not annotated, by reason."""
    return {
        reason: count
        for reason in ("empty_mask", "hidden", "occluded")
        if (count := dataset.get(prefix + reason, 0))
    }


def reasons(rejected: Mapping[str, int]) -> str:
    """For people: "hidden 2, occluded 5"."""
    return ", ".join(f"{reason} {number}" for reason, number in rejected.items()) or "none"
