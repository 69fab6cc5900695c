"""Where a report goes, and what it must not overwrite."""

import json
import os

import pytest
from typer.testing import CliRunner

from tests.conftest import seal_discs
from tests.html_report.material import annotation, finished_run, write_dataset
from xpaste_ray import cli
from xpaste_ray.errors import ConfigError
from xpaste_ray.html_report.write import write_report
from xpaste_ray.storage import locate


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "mine", [[annotation(45, 0, 0, 32)]])


def test_command_writes_a_page_and_its_json_into_the_folder(dataset):
    done = CliRunner().invoke(cli.app, ["report", str(dataset)])
    assert done.exit_code == 0 and done.output.strip() == f"report: {dataset / 'report.html'}"
    assert (dataset / "report.html").read_text().startswith("<!doctype html>")
    assert json.loads((dataset / "report.json").read_text())["kind"] == "xpaste report"


def test_report_is_written_anew(dataset):
    write_report(str(dataset))
    (dataset / "report.html").write_text("old")
    write_report(str(dataset))
    assert (dataset / "report.html").read_text() != "old"


def test_json_of_a_report_never_takes_the_place_of_another_file(dataset):
    """Beside dataset.html would be dataset.json, which is the dataset's own."""
    before = (dataset / "dataset.json").read_bytes()
    with pytest.raises(ConfigError, match="dataset.json, where the report's JSON would be, is another file"):
        write_report(str(dataset), str(dataset / "dataset.html"))
    assert (dataset / "dataset.json").read_bytes() == before and not (dataset / "dataset.html").exists()


def test_source_whose_name_is_no_unicode_is_told(tmp_path):
    name = os.fsdecode(b"\xff.jpg#1")
    copied = annotation(45, 0, 0, 32, origin="copied", source_id=name)
    folder = write_dataset(tmp_path / "mine", [[copied]])
    write_report(str(folder))
    assert '"source": "?.jpg#1"' in (folder / "report.json").read_text()


def test_out_must_be_a_page(dataset, tmp_path):
    with pytest.raises(ConfigError, match=r"report.pdf: give a file name that ends in .html"):
        write_report(str(dataset), str(tmp_path / "report.pdf"))


def test_pool_in_an_object_store_has_its_report_there(tmp_path, s3):
    place = locate(s3()) / "runs"
    seal_discs(place, {"banana": 2})
    file = write_report(f"{place}/pools/pool")
    assert str(file) == f"{place}/pools/pool/report.html"
    assert b"banana" in file.read_bytes()


def test_run_in_an_object_store_tells_what_it_tells_on_a_disk(tmp_path, s3):
    run = finished_run(tmp_path / "run")
    place = locate(s3()) / "run"
    for name in run.root.files():
        (place / name).write_whole((run.root / name).read_bytes())
    local, remote = tmp_path / "local.html", tmp_path / "remote.html"
    write_report(str(run.root), str(local))
    write_report(str(place), str(remote))
    assert local.read_bytes() == remote.read_bytes()
