"""The shipped launcher starts no Ray that strangers can use; see `tests/test_cluster_yaml.py` for the rest.

That a head without a token does not start at all is tested with a real one, in `test_job_submit`.
"""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = yaml.safe_load((ROOT / "cluster.yaml").read_text())
_STARTS = [*CLUSTER["head_start_ray_commands"], *CLUSTER["worker_start_ray_commands"]]


def test_every_node_asks_for_a_token_before_ray_is_started():
    (setup,) = [one for one in CLUSTER["setup_commands"] if "xpaste.env" in one]  # of head and workers
    assert "'export RAY_AUTH_MODE=token'" in setup
    assert "source ~/xpaste.env" in setup and "~/.bashrc" in setup
    assert not [one for one in _STARTS if "RAY_AUTH" in one]  # and nothing changes it


def test_the_token_is_a_file_that_only_its_owner_reads_and_never_in_the_file_of_the_cluster():
    assert CLUSTER["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "RAY_AUTH_TOKEN" not in (ROOT / "cluster.yaml").read_text()
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"\(umask 077; ray get-auth-token --generate > /dev/null\)", readme)


@pytest.mark.parametrize("command", [one for one in _STARTS if "ray start" in one])
def test_the_dashboard_is_on_loopback(command):
    hosts = re.findall(r"--dashboard-host=(\S+)", command)
    assert hosts == (["127.0.0.1"] if "--head" in command else [])
    assert "--ray-client-server-port" not in command
