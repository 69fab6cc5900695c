"""What a check found wrong."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One broken rule: its short name, one line of text, and whom it concerns.

    Ids are those of COCO files: `image_id` is a sample's index + 1. A warning is what trainers bear.
    """

    rule: str
    text: str
    image_id: int | str | None = None
    annotation_id: int | str | None = None
    severity: Severity = "error"

    @property
    def line(self) -> str:
        """For people: "error area_differs, image 6, annotation 12: area 8 is not the mask's, 9"."""
        ids = {"image": self.image_id, "annotation": self.annotation_id}
        named = "".join(f", {noun} {value}" for noun, value in ids.items() if value is not None)
        return f"{self.severity} {self.rule}{named}: {self.text}"


KEPT_A_RULE = 100
"""Findings of one rule that a report keeps; the others are only counted."""


@dataclass(slots=True)
class Report:
    """What was checked and what was found: `counts` has every finding by (severity, rule).

    `remedies`: what to do about the errors, a line each.
    """

    images: int = 0
    annotations: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[tuple[Severity, str]] = field(default_factory=Counter)
    remedies: list[str] = field(default_factory=list)

    @property
    def errors(self) -> int:
        return sum(count for (severity, _), count in self.counts.items() if severity == "error")

    @property
    def warnings(self) -> int:
        return self.counts.total() - self.errors

    def add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            key = finding.severity, finding.rule
            self.counts[key] += 1
            if self.counts[key] <= KEPT_A_RULE:
                self.findings.append(finding)


Progress = Callable[[str, int], None]
"""Told, by the part of the check, how many more samples are done."""


def check_file_names(folder: Path, expected: set[str], suffix: str = "") -> Iterator[Finding]:
    """Files that are missing from a folder, and others that a reader who lists it would take along.

    Readers list files that end in `suffix`; names that begin with a dot nobody takes.
    """
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    for name in sorted(expected - found):
        yield Finding(rule="file_missing", text=f"{folder.name}/{name} is missing")
    for name in sorted(found - expected):
        if name.endswith(suffix) and not name.startswith("."):
            yield Finding(rule="file_stray", text=f"{folder.name}/{name} does not belong to the dataset")
