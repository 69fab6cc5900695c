"""`xpaste study` as a person types it."""

import pytest
from typer.testing import CliRunner

from tests.pipelines.studies import write_study
from xpaste_ray.cli import app
from xpaste_ray.errors import ConfigError
from xpaste_ray.studies import study_names


def test_list_tells_of_the_studies_that_ship():
    told = CliRunner().invoke(app, ["study", "--list"])
    assert told.exit_code == 0
    assert [line.split(":")[0] for line in told.output.splitlines()] == study_names()


def test_dry_run_tells_what_is_there_and_what_is_not(tmp_path):
    told = CliRunner().invoke(
        app, ["study", str(write_study(tmp_path)), "--out", str(tmp_path / "out"), "--dry-run"]
    )
    assert told.exit_code == 0, told.output
    assert "study tiny: 2 arms, 2 seeds each" in told.output
    assert "arm       pasted: 0 of 2 trainings are there" in told.output


def test_relative_places_are_refused_inside_a_ray_job(tmp_path, monkeypatch):
    file = str(write_study(tmp_path))
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    given = ["study", file, "--out", "/tmp/out", "--dry-run", "--set", "data.train=data"]
    with pytest.raises(ConfigError, match=r"data.train data: inside a Ray job"):
        CliRunner().invoke(app, given, catch_exceptions=False)
