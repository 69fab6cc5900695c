"""The command line as a user meets it: real processes, exit codes, messages."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import xpaste_ray
from xpaste_ray.config import preset_names

XPASTE = Path(sys.executable).with_name("xpaste")


def _run(*arguments, timeout=60):
    return subprocess.run([XPASTE, *arguments], capture_output=True, text=True, timeout=timeout)


def _refused(*arguments):
    done = _run(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and done.stderr.startswith("error: ")
    return done.stderr


def test_help_needs_no_heavy_import():
    """Torch, Ray and the rest would cost seconds; the bound in milliseconds is a benchmark's matter."""
    code = (
        "import sys, xpaste_ray.cli\n"
        "print({'torch', 'ray', 'cv2', 'numpy', 'pyarrow', 'pydantic', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert "demo" in _run("--help").stdout


def test_config_show_prints_what_would_run():
    shown = yaml.safe_load(_run("config", "show", "--set", "sources.diffusion.steps=7").stdout)
    assert shown["sources"]["diffusion"]["steps"] == 7 and shown["prompts"]["per_category"] == 8


def test_help_of_show_says_which_preset_each_command_uses():
    told = " ".join(_run("config", "show", "--help").stdout.split())
    assert "Without --preset: `demo`, as `xpaste demo` runs" in told
    assert "`compose` and `render` use `xpaste` unless told" in told
    for command, preset in (("demo", "demo"), ("compose", "xpaste"), ("render", "xpaste")):
        assert f"[default: {preset}]" in " ".join(_run(command, "--help").stdout.split())


def test_shown_settings_can_be_edited_and_used(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(_run("config", "show", "--preset", "xpaste").stdout.replace("count: 10000", "count: 7"))
    assert _run("config", "show", "--preset", file).stdout == file.read_text()
    assert yaml.safe_load(file.read_text())["compose"]["count"] == 7


def test_unknown_command_and_option_exit_with_2():
    assert _run("demmo").returncode == 2
    assert _run("demo", "--ot", "x").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "dmo"], "unknown preset 'dmo'; did you mean 'demo'?"),
        (["--set", "source.step=5"], "unknown option 'source.step'"),
        (
            ["--set", "categories.names=[strawbery]"],
            "unknown category 'strawbery'; did you mean 'strawberry'?",
        ),
        (["--set", "categories.names=[toaster]"], "cannot draw 'toaster'"),
        (
            ["--set", "sources.diffusion.model=/no/such/model"],
            "sources.diffusion.model: the model folder '/no/such/model' does not exist",
        ),
        (["--set", "compose.backgrounds=/no/such"], "backgrounds: /no/such is not a folder"),
    ],
)
def test_wrong_settings_are_refused_before_anything_starts(tmp_path, arguments, message):
    assert message in _refused("demo", "--out", tmp_path / "run", *arguments)
    assert not (tmp_path / "run").exists()


def test_model_that_is_not_safetensors_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").touch()
    message = _refused("demo", "--out", tmp_path / "run", "--set", f"score.model={tmp_path}")
    assert "pytorch_model.bin, a pickle" in message


def test_out_that_is_not_writable_is_refused():
    assert "choose another folder" in _refused("demo", "--out", "/proc/run")


COMPOSE = ["compose", "--pool", "/no/pool", "--backgrounds", "/no/photos", "--out", "/no/out"]


@pytest.mark.parametrize("option", ["--workers=0", "--count=0", "--seed=-1"])
def test_numbers_out_of_range_are_told_by_the_options_name(option):
    done = _run(*COMPOSE, option)
    assert done.returncode == 2 and f"Invalid value for '{option.split('=')[0]}'" in done.stderr


def test_several_formats_come_with_commas_or_one_by_one():
    both = _refused(*COMPOSE, "--format", "coco,yolo", "--format", "voc")
    assert both.startswith("error: /no/pool does not exist, so it holds no sealed pool")
    assert "got 'cocoo'" in _refused(*COMPOSE, "--format", "yolo,cocoo")
    twice = _refused(*COMPOSE, "--format", "coco,yolo", "--format", "coco")
    assert twice == "error: --format coco is given 2 times: give each format once\n"


def test_plans_are_either_written_or_rendered():
    message = _refused(*COMPOSE, "--plans-only", "--from-plans", "/no/plans")
    assert "--plans-only goes without --from-plans" in message


def test_version_is_printed():
    assert _run("--version").stdout == f"xpaste {xpaste_ray.__version__}\n"


def test_presets_are_listed_with_a_line_on_each():
    listed = dict(line.split(maxsplit=1) for line in _run("config", "presets").stdout.splitlines())
    assert set(listed) == set(preset_names())
    assert listed["demo"].startswith("The first run: ")
    assert listed["xpaste"].startswith("X-Paste, from category names to a dataset, as its published code")


def test_a_missing_pool_comes_with_the_command_that_makes_one(tmp_path):
    there = [*COMPOSE[:2], tmp_path, *COMPOSE[3:]]
    assert f"{tmp_path} holds no sealed pool (" in _refused(*there)
    assert "`xpaste demo --out RUN`" in _refused(*there) and "`xpaste demo --out RUN`" in _refused(*COMPOSE)


def test_ctrl_c_exits_with_130(tmp_path):
    process = subprocess.Popen(
        [XPASTE, "demo", "--out", tmp_path / "run", "--set", "sources.diffusion.steps=2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"}, process_group=0,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "units.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)  # into the start of Ray
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command again to continue" in errors
