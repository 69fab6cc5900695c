import json

import pytest

from xpaste_ray.config import load_settings
from xpaste_ray.errors import ConfigError
from xpaste_ray.pipelines.places import check_absolute, places_of


@pytest.mark.parametrize("place", ["runs/lvis", "./x", "lvis"])
def test_relative_path_is_refused_inside_a_job_only(monkeypatch, place):
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    check_absolute("--out", place)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(ConfigError, match=f"--out {place}: inside a Ray job .* on a shared disk"):
        check_absolute("--out", place)


@pytest.mark.parametrize("place", ["/shared/runs/lvis", "s3://bucket/runs", "gs://bucket/runs"])
def test_other_places_are_fine_anywhere(monkeypatch, place):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    check_absolute("--out", place)


def test_mask_files_are_a_place_that_every_node_reads():
    told = {"kind": "masks", "path": "cob/masks"}
    settings = load_settings("demo", [f"segment.methods.cob={json.dumps(told)}"])
    assert ("segment.methods.cob.path", "cob/masks") in set(places_of(settings))
