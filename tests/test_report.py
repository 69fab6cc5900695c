"""Progress in a log, and the closing tables: kept + rejected = made in every row."""

import io
import os
import re
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from tests.test_outcomes import COUNTS
from xpaste_ray.pace import StageState, Working
from xpaste_ray.pipelines.figures import Figures, StageFigures, acceptance
from xpaste_ray.pipelines.job import Summary
from xpaste_ray.report import (
    ConsoleProgress,
    _LastingConsole,
    print_dataset_summary,
    print_pool_summary,
    print_summary,
)


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def _rows(capsys):
    return _rows_of(capsys.readouterr().out)


def _rows_of(told):
    """The printed table's rows, by their first cell."""
    lines = told.splitlines()
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


def test_summary_tells_contexts_apart(wide, capsys):
    backgrounds = {"usable": 3, "rejected": {"truncated": 1}, "rejected_annotations": {}}
    contexts = {"usable": 7, "rejected": {}}
    counts = {"dataset": COUNTS | {"on_contexts": 2}, "backgrounds": backgrounds, "contexts": contexts}
    print_dataset_summary(Summary(counts=counts, already_done=True), Path("out"), ("coco",))
    told = capsys.readouterr().out
    assert f"{COUNTS['images']} images in out (coco), 2 of them on contexts" in told
    assert "│ contexts " in told and "│ backgrounds " in told


def test_summary_of_a_demo_shows_the_pool_too(wide, capsys):
    counts = {
        "candidates": {"made": 9, "kept": 8, "rejected": {"black_image": 1}},
        "proposals": {"made": 8, "kept": 8, "rejected": {}},
        "categories": {"without_instances": []},
        "backgrounds": {"rejected": {}},
        "dataset": {"images": 2, "placed": 5, "pasted_annotations": 4, "annotations": 4, "hidden": 1},
    }
    print_summary(Summary(counts=counts, already_done=True), Path("my out"))
    told = capsys.readouterr().out
    rows = _rows_of(told)
    assert "xpaste serve --pool 'my out'" in told.splitlines()[-1]
    assert rows["candidates"] == ["9", "8", "black_image 1"] and rows["proposals"] == ["8", "8", "none"]
    assert rows["pasted objects"] == ["5", "4", "hidden 1"]


class _Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def log():
    """A progress that writes into a log, its clock and its lines."""
    stream, clock = io.StringIO(), _Clock()
    console = Console(file=stream, width=200, force_terminal=False)
    return ConsoleProgress(console, clock), clock, lambda: stream.getvalue().splitlines()


def test_log_has_a_line_for_each_quarter_of_a_stage(log):
    progress, clock, lines = log
    progress.begin({"source": 8}, "units")
    for done in range(9):
        clock.now = 2.0 * done
        progress.advance("source", done, StageState(16 * done, working=Working(1, 2, "GPUs")))
    progress.advance("source", 8, StageState(128, working=Working(0, 2, "GPUs")))
    assert lines() == [
        "source 2 of 8 units (32 images), 8.0 images/s, 1 of 2 GPUs busy, 12 s left",
        "source 4 of 8 units (64 images), 8.0 images/s, 1 of 2 GPUs busy, 8 s left",
        "source 6 of 8 units (96 images), 8.0 images/s, 1 of 2 GPUs busy, 4 s left",
        "source 8 of 8 units (128 images), 8.0 images/s, 1 of 2 GPUs busy",
    ]


def test_log_of_a_long_stage_has_a_line_every_30_seconds_and_no_more(log):
    progress, clock, lines = log
    progress.begin({"source": 1000, "segment": 1000}, "units")
    for second in range(121):  # told every second, a unit every ten
        clock.now = float(second)
        progress.advance("source", second // 10, StageState(second // 10 * 16))
        progress.advance("segment", 0, StageState(queued=0, waiting=True))
    told = [line.split(" units")[0] for line in lines()]
    assert told == [f"source {done} of 1,000" for done in (3, 6, 9, 12)]


def test_stage_that_begins_again_is_told_again(log):
    """A sequential plan writes once in each pass."""
    progress, clock, lines = log
    for stage in ("source", "segment"):
        progress.begin({stage: 1, "write": 4}, "units")
        for done in range(5):
            clock.now += 1.0
            progress.advance("write", done)
    assert [line.split(",")[0] for line in lines()] == [
        f"write {done} of 4 units" for done in (1, 2, 3, 4)
    ] * 2
    assert len(progress._bars.tasks) == 3  # source, segment and one write


def test_rate_starts_when_the_stage_does_not_when_models_load(log):
    progress, clock, lines = log
    progress.begin({"source": 4}, "units")
    for second in range(100):
        clock.now = float(second)
        progress.advance("source", 0, StageState(0, loading=2, waiting=True, working=Working(0, 2, "GPUs")))
    clock.now = 109.0
    progress.advance("source", 1, StageState(20, working=Working(2, 2, "GPUs")))
    assert lines()[0] == "source 0 of 4 units, 2 loading a model, 0 of 2 GPUs busy"
    assert lines()[-1] == "source 1 of 4 units (20 images), 2.0 images/s, 2 of 2 GPUs busy, 30 s left"


def test_terminal_shows_rate_queue_gpus_and_time_left():
    stream, clock = io.StringIO(), _Clock()
    console = Console(file=stream, width=200, force_terminal=True)
    with ConsoleProgress(console, clock) as progress:
        progress.begin({"source": 8}, "units")
        clock.now = 4.0
        progress.advance("source", 2, StageState(32, queued=3, working=Working(1, 2, "GPUs")))
    shown = re.sub(r"\x1b\[[0-9;?]*\w", "", stream.getvalue())  # without colours and moves of the cursor
    bar = shown.rstrip().splitlines()[-1]
    assert re.search(r"source .* 2/8 units ", bar)
    assert bar.endswith("8.0 images/s, queue 3, 1 of 2 GPUs busy, 12 s left")


def test_run_outlives_who_reads_along():
    """`xpaste ... | head`, or a terminal that is gone."""
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w")
    progress = ConsoleProgress(_LastingConsole(file=stream))
    progress.say("nobody reads this")
    progress.say("nor this")
    with suppress(BrokenPipeError):
        stream.close()
    progress = ConsoleProgress(_LastingConsole(file=stream))
    progress.say("the stream is closed")


def test_closing_table_names_the_bottleneck_and_what_a_gpu_second_gave(wide, capsys):
    figures = Figures()
    stages = {
        "source": StageFigures(3200, 760.0, 100.0, actors=8, gpus=8.0, load_s=24.0),
        "segment": StageFigures(3200, 180.0, 100.0, actors=4, deaths=2),
    }
    figures.note_pass(stages, 100.0)
    figures.acceptance = acceptance(2400, figures.stages)
    counts = {kind: {"made": 3200, "kept": 2400, "rejected": {}} for kind in ("candidates", "proposals")}
    print_pool_summary(Summary(counts=counts, figures=figures, wall_seconds=7860.0), "out")
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in shown.splitlines()]
    assert ["source", "3,200", "95%", "760.0", "4.2", "4.00", "24.0"] in rows
    assert ["segment", "3,200", "45%", "180.0", "17.8"] in rows  # without GPUs, nothing to load
    assert "done in 2 h 11 min" in shown
    assert "bottleneck: source, its actors were busy 95% of the time" in shown
    assert "processes that died and were replaced: segment 2" in shown
    assert "accepted instances per GPU-second: 3\n" in shown
