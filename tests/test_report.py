"""The closing tables: kept + rejected = made in every row."""

from pathlib import Path

import pytest

from xpaste_ray.pipelines.job import Summary
from xpaste_ray.report import Outcome, object_outcomes, print_dataset_summary, print_summary

# 50 drawn: 42 placed and 8 not; of the 42, 3 are gone. The backgrounds show 20 objects, 9 are gone.
COUNTS = {
    "images": 10, "placed": 42, "skipped_too_small": 7, "skipped_too_large": 1,
    "empty_mask": 1, "occluded": 2, "pasted_annotations": 39,
    "background_objects": 20, "background_hidden": 5, "background_occluded": 4,
    "annotations": 50, "sized_by_overall": 6,
}  # fmt: skip


def _balanced(outcome):
    return outcome.kept + sum(outcome.rejected.values()) == outcome.made


def test_pasted_and_background_objects_are_told_apart_and_each_adds_up():
    pasted, own = object_outcomes(COUNTS)
    assert pasted == Outcome(
        "pasted objects",
        50,
        39,
        {"skipped_too_small": 7, "skipped_too_large": 1, "empty_mask": 1, "occluded": 2},
    )
    assert own == Outcome("background objects", 20, 11, {"hidden": 5, "occluded": 4})
    assert _balanced(pasted) and _balanced(own)


@pytest.mark.parametrize(
    ("counts", "made", "kept"),
    [
        pytest.param({"placed": 3, "pasted_annotations": 3, "annotations": 3}, 3, 3, id="kept"),
        pytest.param({"placed": 2, "pasted_annotations": 0, "hidden": 2, "annotations": 0}, 2, 0, id="gone"),
        pytest.param({"pasted_annotations": 0, "skipped_too_small": 2, "annotations": 0}, 2, 0, id="small"),
    ],
)  # fmt: skip
def test_backgrounds_without_objects_have_no_row(counts, made, kept):
    (outcome,) = object_outcomes(counts)
    assert (outcome.what, outcome.made, outcome.kept) == ("pasted objects", made, kept) and _balanced(outcome)


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def _rows(capsys):
    """The printed table's rows, by their first cell."""
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in lines if "│" in line]
    return {first: others for first, *others in cells}


def test_summary_of_a_dataset_shows_both_kinds(wide, capsys):
    backgrounds = {"usable": 3, "rejected": {"truncated": 1}, "rejected_annotations": {}}
    summary = Summary(counts={"dataset": COUNTS, "backgrounds": backgrounds}, already_done=True)
    print_dataset_summary(summary, Path("out"), ("coco",))
    rows = _rows(capsys)
    left_out = "skipped_too_small 7, skipped_too_large 1, empty_mask 1, occluded 2"
    assert rows["pasted objects"] == ["50", "39", left_out]
    assert rows["background objects"] == ["20", "11", "hidden 5, occluded 4"]
    assert rows["backgrounds"] == ["4", "3", "truncated 1"]


def test_summary_of_a_demo_shows_the_pool_too(wide, capsys):
    counts = {
        "candidates": {"made": 9, "kept": 8, "rejected": {"black_image": 1}},
        "proposals": {"made": 8, "kept": 8, "rejected": {}},
        "categories": {"without_instances": []},
        "backgrounds": {"rejected": {}},
        "dataset": {"images": 2, "placed": 5, "pasted_annotations": 4, "annotations": 4, "hidden": 1},
    }
    print_summary(Summary(counts=counts, already_done=True), Path("out"))
    rows = _rows(capsys)
    assert rows["candidates"] == ["9", "8", "black_image 1"] and rows["proposals"] == ["8", "8", "none"]
    assert rows["pasted objects"] == ["5", "4", "hidden 1"]
