"""What a user sees of runs on a real local Ray: in a log, in `run.json`, and when one cannot go on."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xpaste_ray.embedded import DIFFUSION_DIR
from xpaste_ray.pipelines.ray_profile import _without_line

XPASTE = Path(sys.executable).with_name("xpaste")
DEADLINE_S = 300

# Stand-ins for the models: 6 units of 4 images, all of which are kept.
SCRIPT = """
import sys
from pathlib import Path
from tests import standins
from xpaste_ray.config import PoolSettings, load
from xpaste_ray.pipelines.build import BuildOptions, build_pool
from xpaste_ray.report import ConsoleProgress, print_pool_summary

overrides = ["categories.names=[banana,frog,lion,pear]", "prompts.per_category=6",
             "sources.diffusion.unit_size=4"]
out = Path(sys.argv[1])
with ConsoleProgress() as progress:
    options = BuildOptions(order="sequential", code=standins.code(source={"seconds": 0.02}))
    summary = build_pool(load(PoolSettings, "demo", overrides), out, progress, options)
print_pool_summary(summary, str(out))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run, one stage after the other: its folder and what it printed."""
    out = tmp_path_factory.mktemp("sight") / "run"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, out], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done


def test_log_follows_every_pass_to_its_end(run):
    _, done = run
    for stage in ("source", "segment", "score"):
        assert re.search(rf"^{stage} 6 of 6 units \(24 images\), .*images/s", done.stdout, re.MULTILINE)
    assert len(re.findall(r"^write 6 of 6 units", done.stdout, re.MULTILINE)) == 3


def test_nothing_alarming_is_on_the_error_stream(run):
    """Ray has a word of warning for every pool of actors."""
    assert run[1].stderr == ""


def test_only_lines_with_the_text_are_kept_from_the_error_stream(capfd):
    with _without_line(b"benign"):
        os.write(2, b"an error\na benign line\nand another error\n")
    os.write(2, b"benign, but later\n")
    assert capfd.readouterr().err == "an error\nand another error\nbenign, but later\n"


def test_times_of_a_sitting_are_in_run_json(run):
    out, done = run
    (sitting,) = json.loads((out / "run.json").read_text())["times"]
    assert set(sitting) == {"wall_s", "busy_s", "stages", "bottleneck", "load_s", "deaths",
                            "accepted_per_core_second"}  # fmt: skip
    stages = sitting["stages"]
    assert [stages[name]["images"] for name in ("source", "segment", "score", "select+seal")] == [24] * 4
    assert stages["source"]["actors"] == 2 and stages["source"]["busy_s"] >= 24 * 0.02
    assert sitting["bottleneck"] == "source" and "bottleneck: source" in done.stdout
    busy_s = sum(stages[name]["busy_s"] for name in ("source", "segment", "score"))
    assert sitting["accepted_per_core_second"] == pytest.approx(24 / busy_s)


@pytest.mark.faults
def test_run_that_cannot_go_on_says_why_in_a_line_and_exits_with_1(tmp_path):
    """Here the weights do not fit the network that the model's folder describes."""
    model = tmp_path / "model"
    shutil.copytree(DIFFUSION_DIR, model)
    config = model / "unet" / "config.json"
    config.write_text(re.sub(r'"in_channels": \d+', '"in_channels": 5', config.read_text()))
    settings = [f"sources.diffusion.model={model}", "categories.names=[banana]", "prompts.per_category=4",
                "resources.source.actors=1"]  # fmt: skip
    command = [XPASTE, "pool", "build", "--out", tmp_path / "run", *(f"--set={one}" for one in settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1
    assert done.stderr.startswith("error: stage 'source' cannot start: ")
    assert done.stderr.endswith("What is done is kept: the same command continues it.\n")
    assert "Traceback" not in done.stdout + done.stderr
