"""`xpaste prompts show`, as a user meets it, and what --categories takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import CATEGORIES
from tests.sources.material import jpeg, write_files
from xpaste_ray.cli import app
from xpaste_ray.config import dump_settings, load_settings
from xpaste_ray.errors import ConfigError
from xpaste_ray.pipelines.opening import open_sources
from xpaste_ray.sources.work_list import plan_units


def _show(*arguments):
    done = CliRunner().invoke(app, ["prompts", "show", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def _rows(*arguments):
    return [json.loads(line) for line in _show("--format", "jsonl", *arguments).stdout.splitlines()]


def test_it_prints_what_the_run_will_use():
    told = load_settings("demo", ["categories.names=[banana, frog, lion]", "seed=5"])
    units = plan_units(CATEGORIES, open_sources(told, CATEGORIES), told.sources, 8)
    planned = [(p.candidate_id, p.text, p.seed) for unit in units for p in unit.prompts]
    shown = _rows("--set", "categories.names=[banana, frog, lion]", "--set", "seed=5")
    assert [(row["candidate_id"], row["text"], row["seed"]) for row in shown] == planned


def test_twice_the_same_in_two_processes():
    command = [
        sys.executable,
        "-c",
        "from xpaste_ray.cli import main; main()",
        "prompts",
        "show",
        "--limit",
        "3",
    ]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2))
    assert first.stdout == second.stdout != ""
    assert first.stdout.splitlines()[1].split()[:3] == ["banana", "0", "diffusion"]


def test_texts_are_taken_in_turn_and_limited():
    done = _show("--category", "banana", "--per-category", "9", "--limit", "7",
                 "--set", "prompts.templates=empaste")  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 8 and lines[0].split()[:4] == ["category", "index", "source", "seed"]
    assert lines[1].endswith("a photo of banana") and lines[6].endswith("banana isolated on white background")
    assert lines[7].endswith("a photo of banana")
    assert "and more: these are the first 7, --limit N shows more" in done.stderr


def test_all_of_them_need_no_hint():
    assert "and more" not in _show("--category", "banana", "--per-category", "3", "--limit", "3").stderr


def test_preset_of_searches_and_hub_models_is_shown_without_either(tmp_path):
    """On a machine with no model and no network. LVIS: aerosol_can is common, applesauce rare."""
    nowhere = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", "from xpaste_ray.cli import main; main()", "prompts", "show"]
    command += ["--preset", "xpaste-summary", "--limit", "5"]

    def show(*more):
        env = {**os.environ, **nowhere}
        return subprocess.run([*command, *more], capture_output=True, text=True, check=True, env=env)

    done = show()
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert lines[1].split() == ["aerosol_can", "0", "web", "(not", "searched", "yet)"]
    assert "web: 866 categories not searched yet: `pool build` does" in done.stderr
    row = json.loads(show("--format", "jsonl", "--category", "applesauce").stdout.splitlines()[0])
    assert (row["source"], row["text"]) == ("diffusion", "applesauce") and "seed" in row
    assert list(tmp_path.iterdir()) == []


def test_found_images_are_shown_by_their_places(tmp_path):
    write_files(tmp_path / "photos", {"banana/1.jpg": jpeg(), "banana/2.jpg": jpeg(1), "frgo/1.jpg": jpeg()})
    told = dump_settings(load_settings("demo"))
    begin, end = told.index("\nsources:"), told.index("\nsegment:")
    section = f"\nsources:\n  photos: {{kind: folder, path: {tmp_path / 'photos'}}}"
    (tmp_path / "mine.yaml").write_text(told[:begin] + section + told[end:])
    done = _show("--preset", str(tmp_path / "mine.yaml"), "--set", "categories.names=banana")
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["banana", "0", "photos", "banana/1.jpg"], ["banana", "1", "photos", "banana/2.jpg"]
    ]  # fmt: skip
    assert "photos: 1 image left out, whose categories are not in the vocabulary: 'frgo'" in done.stderr


def test_names_cannot_break_the_table(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(["two\nlines \x1b[31m", "x" * 300]))
    with pytest.raises(ConfigError, match="cannot draw"):  # the embedded model knows its categories only
        _show("--categories", str(file))
    photos = {"kind": "folder", "path": str(tmp_path / "photos")}
    write_files(tmp_path / "photos", {"1/a.jpg": jpeg(), "2/b.jpg": jpeg()})
    done = _show("--categories", str(file), "--set", f"sources.diffusion={json.dumps(photos)}")
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and lines[1].startswith(r"two\nlines \x1b[31m")


def test_text_file_chooses_and_another_file_is_the_vocabulary(tmp_path):
    (tmp_path / "names.txt").write_text("lion\nbanana\n")
    assert {row["category"] for row in _rows("--categories", str(tmp_path / "names.txt"))} == {
        "banana",
        "lion",
    }
    (tmp_path / "mine.yaml").write_text("- {id: 9, name: lion}\n")
    rows = _rows("--categories", str(tmp_path / "mine.yaml"))
    assert {(row["category_id"], row["category"]) for row in rows} == {(9, "lion")}


def test_names_that_no_vocabulary_has_say_how_to_make_them_one(tmp_path):
    (tmp_path / "names.txt").write_text("my gadget\n")
    with pytest.raises(ConfigError, match=r"give --set categories\.vocabulary=.*names\.txt"):
        _show("--categories", str(tmp_path / "names.txt"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--category", "bananna"], "unknown category 'bananna'; did you mean 'banana'"),
        (["--categories", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["--categories", "nowhere.json"], "nowhere.json is neither lvis nor a file that is there"),
    ],
)
def test_wrong_choices_are_errors(arguments, message):
    with pytest.raises(ConfigError, match=message):
        _show(*arguments)


def test_pool_build_takes_the_same_file(tmp_path):
    (tmp_path / "names.txt").write_text("my gadget\n")
    command = ["pool", "build", "--out", str(tmp_path / "run"), "--categories", str(tmp_path / "names.txt")]
    with pytest.raises(ConfigError, match="none of its names is a category of the vocabulary lvis"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert not Path(tmp_path / "run").exists()
