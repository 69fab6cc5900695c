"""F16: files that were lost, cut short or changed are found, and exactly they are made again."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.pipelines.faults.driver import Job
from tests.pipelines.faults.harness import assert_same_run, images_run, run, unit_files
from xpaste_ray import cli
from xpaste_ray.storage import locate


@pytest.fixture
def copy(reference, tmp_path) -> Path:
    shutil.copytree(reference, tmp_path / "run")
    return tmp_path / "run"


def _verify(out, *options):
    """Its exit code, and the lines that it printed but for progress."""
    done = CliRunner().invoke(cli.app, ["pool", "verify", str(out), *options], catch_exceptions=False)
    return done.exit_code, [line for line in done.output.splitlines() if not line.startswith("verify: ")]


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path, at=0.5):
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x10
    path.write_bytes(data)


def _shard(out):
    (path,) = out.glob("pools/*/shard-*.arrow")
    return path


def test_whole_run_has_no_findings(reference):
    assert _verify(reference) == (0, [f"{reference} is whole"])


@pytest.mark.timeout(300)
def test_lost_cut_and_changed_units_are_named_and_exactly_they_are_made_again(ray, reference, copy, notes):
    kept = unit_files(copy)
    flipped, cut, lost = kept.pop(9), kept.pop(6), kept.pop(2)
    lost.unlink()
    _cut(cut)
    _flip(flipped, at=0.3)  # in an image; its end is intact
    code, lines = _verify(copy, "--repair")
    names = [path.relative_to(copy).as_posix() for path in (lost, cut, flipped)]
    assert code == 1 and len(lines) == 4
    assert [line.partition(":")[0] for line in lines[:3]] == names
    assert "missing" in lines[0] and "not whole" in lines[1] and "damaged" in lines[2]
    assert all("build again" in line for line in lines[:3])
    assert "1 damaged file removed" in lines[3] and cut.exists() and not flipped.exists()

    before = {path: path.stat().st_mtime_ns for path in kept}
    run(Job(copy, stages={"source": {"notes": notes}}), ray)
    assert_same_run(copy, reference)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    made = ["banana-1", "frog-1", "banana-3", "frog-3", "lion-4", "pear-4"]
    assert sorted(images_run(notes, "source")) == sorted(made)
    assert _verify(copy)[0] == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        pytest.param(lambda out: _shard(out).unlink(), "shard-00000.arrow: missing", id="lost-shard"),
        pytest.param(lambda out: _cut(_shard(out)), "shard-00000.arrow: damaged", id="cut-shard"),
        pytest.param(
            lambda out: (out / "rejects.parquet").unlink(), "rejects.parquet: missing", id="lost-rejects"
        ),
        pytest.param(lambda out: (out / "pool.json").unlink(), "pool.json: missing", id="lost-pointer"),
        pytest.param(
            lambda out: _cut(out / "scores" / "part-00000.parquet"), "part-00000.parquet: missing, not whole",
            id="cut-scores",
        ),
        pytest.param(lambda out: (out / "units.parquet").unlink(), "units.parquet: missing", id="lost-list"),
    ],
)  # fmt: skip
def test_build_notices_what_is_lost_or_cut_and_makes_it_again(reference, copy, damage, finding):
    """Nothing has to be generated, so Ray is not even started."""
    damage(copy)
    code, lines = _verify(copy)
    assert code == 1 and any(finding in line for line in lines), lines
    shown = run(Job(copy))
    assert "starting Ray" not in shown
    assert_same_run(copy, reference)


@pytest.mark.timeout(120)
def test_changed_bytes_that_a_build_does_not_see_are_repaired(reference, copy):
    """In the sealed pool, the scores and the rejects."""
    _flip(_shard(copy))
    _flip(copy / "scores" / "part-00000.parquet", at=0.1)
    code, lines = _verify(copy, "--repair")
    assert code == 1 and "2 damaged files removed" in lines[-1], lines
    run(Job(copy))
    assert_same_run(copy, reference)
    assert _verify(copy)[0] == 0


def test_run_in_an_object_store_is_verified_there(s3, reference, copy):
    """Nothing of it is copied to this machine first."""
    _flip(_shard(copy))
    unit_files(copy)[3].unlink()
    run_dir = locate(s3()) / "run"
    for path in (path for path in copy.rglob("*") if path.is_file()):
        (run_dir / path.relative_to(copy).as_posix()).upload(path)
    code, lines = _verify(run_dir)
    assert code == 1 and len(lines) == 2
    assert lines[0].startswith("candidates/00001/unit-00001.parquet: missing")
    assert "shard-00000.arrow: damaged: its checksum is another: verify with --repair" in lines[1]


def test_file_that_no_unit_has_is_told(copy):
    extra = unit_files(copy)[0].with_name("unit-00099.parquet")
    shutil.copy(unit_files(copy)[0], extra)
    code, lines = _verify(copy)
    assert code == 1 and "unit-00099.parquet: not a unit of the work list" in lines[0]


def test_folder_that_is_no_run_is_wrong_use(tmp_path):
    done = CliRunner().invoke(cli.app, ["pool", "verify", str(tmp_path)])
    assert "is not a run" in str(done.exception)
