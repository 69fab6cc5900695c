from pathlib import Path

import pyarrow as pa
import pytest

from xpaste_ray import runs
from xpaste_ray.errors import ConfigError
from xpaste_ray.runs import (
    RunDir,
    check_steps,
    made_by,
    open_run,
    read_json,
    remove_leftovers,
    write_json,
    write_parquet,
    write_whole,
)


def test_files_appear_whole_and_leave_nothing_aside(tmp_path):
    write_whole(tmp_path / "a" / "b.bin", b"123")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.bin"]


def test_half_written_files_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / "candidates").mkdir()
    (tmp_path / "candidates" / ".unit-00000.parquet.123.aside").write_bytes(b"half")
    (tmp_path / ".run.json.123.aside").write_bytes(b"half")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".not.ours.aside").touch()
    remove_leftovers(RunDir(tmp_path))
    assert [path.name for path in tmp_path.rglob("*.aside")] == [".not.ours.aside"]


def test_second_process_is_kept_out_until_the_first_ends(tmp_path):
    with (
        open_run(tmp_path),
        pytest.raises(ConfigError, match="another xpaste is at work"),
        open_run(tmp_path),
    ):
        pass
    with open_run(tmp_path):
        pass


def test_only_a_whole_file_of_the_same_recipe_counts(tmp_path):
    path = tmp_path / "unit.parquet"
    assert made_by(path) is None
    write_parquet(path, pa.table({"x": [1]}), recipe="a")
    assert made_by(path) == "a"
    path.write_bytes(path.read_bytes()[:-9])
    assert made_by(path) is None


def test_same_table_gives_the_same_bytes(tmp_path):
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    write_parquet(tmp_path / "1", table)
    write_parquet(tmp_path / "2", table)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_out_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match="is not a directory.*choose another folder"),
        open_run(tmp_path / "file"),
    ):
        pass


def test_out_that_cannot_be_written_is_an_error():
    with pytest.raises(ConfigError, match="choose another folder"), open_run(Path("/proc/xpaste")):
        pass


def test_little_free_disk_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "MIN_FREE_BYTES", 2**62)
    with pytest.raises(ConfigError, match="GiB of disk are free and 2 GiB are needed"), open_run(tmp_path):
        pass


def test_changed_settings_are_refused_by_name(tmp_path):
    run = RunDir(tmp_path)
    write_json(run.run_json, {"steps": {"source": {"settings": {"source": {"steps": 20}, "seed": 0}}}})
    check_steps(run, {"source": {"source": {"steps": 20}, "seed": 0}, "segment": {"border_px": 2}})
    with pytest.raises(ConfigError, match=r"\n  source\.steps: 20 -> 25\n"):
        check_steps(run, {"source": {"source": {"steps": 25}, "seed": 0}})


def test_damaged_json_is_an_error_with_advice(tmp_path):
    (tmp_path / "run.json").write_text('{"a": ')
    with pytest.raises(ConfigError, match="not readable.*choose another folder"):
        read_json(tmp_path / "run.json")
