"""`cluster.yaml` is what Ray's cluster launcher takes, and its set-up commands make a node that works."""

import copy
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import boto3
import pytest
import yaml
from pyarrow.fs import FileSystem
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.command_runner import _with_interactive
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = yaml.safe_load((ROOT / "cluster.yaml").read_text())
REAL_HOME = Path.home()
SETUP_DEADLINE_S = 540


def _locked(package: str) -> str:
    """The version of a package in requirements.lock."""
    found = re.search(rf"^{package}==([\w.]+)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    assert found, package
    return found[1]


@pytest.fixture(scope="module")
def prepared():
    """The file with Ray's defaults of the provider merged in, as `ray up` uses it."""
    return prepare_config(copy.deepcopy(CLUSTER))


def test_ray_accepts_the_file(prepared):
    validate_config(prepared)


@pytest.mark.parametrize(
    "change",
    [
        {"available_nodes": {}},
        {"max_workers": 1},
        {"head_node_type": "other"},
        {"setup_commands": "make setup"},
    ],
    ids=["unknown-key", "more-workers-than-allowed", "no-such-head", "text-for-a-list"],
)
def test_rays_validation_finds_faults(prepared, change):
    """So that the test above can fail."""
    with pytest.raises(Exception):  # noqa: B017 - ValueError or jsonschema's own
        validate_config({**prepared, **change})


def test_head_has_no_work_and_workers_have_gpus(prepared):
    types = dict(prepared["available_node_types"])
    assert types.pop(prepared["head_node_type"])["resources"] == {"CPU": 0, "GPU": 0}
    assert types and all(kind["resources"]["GPU"] >= 1 for kind in types.values())
    assert sum(kind["max_workers"] for kind in types.values()) <= prepared["max_workers"]
    for kind in types.values():
        assert kind["min_workers"] == kind["max_workers"], (
            "`auto` counts the GPUs that are there at the start"
        )


def _options_of_ray_start(command: str) -> dict[str, object]:
    """What `ray start` makes of its arguments; it refuses those that it does not know."""
    from ray.scripts.scripts import start

    words = shlex.split(command.partition("ray start ")[2])
    return start.make_context("start", words).params


@pytest.mark.filterwarnings("ignore")  # Ray's own, when all of its commands are imported
def test_ray_start_knows_every_option_and_the_dashboard_is_on_loopback():
    (head,) = [_options_of_ray_start(c) for c in CLUSTER["head_start_ray_commands"] if "ray start" in c]
    (worker,) = [_options_of_ray_start(c) for c in CLUSTER["worker_start_ray_commands"] if "ray start" in c]
    assert head["head"] and head["dashboard_host"] == "127.0.0.1"
    assert worker["address"] == f"$RAY_HEAD_IP:{head['port']}"


def test_mounts_exist_and_hold_what_the_package_is_installed_from():
    mounts = CLUSTER["file_mounts"]
    assert mounts["~/.ray/auth_token"] == "~/.ray/auth_token"  # where Ray reads it on every node
    sources = {local for local in mounts.values() if not local.startswith("~")}
    assert [local for local in sources if not (ROOT / local).exists()] == []
    assert {"xpaste_ray", "pyproject.toml", "requirements.lock", "Makefile"} <= sources


@pytest.fixture
def aws(s3, tmp_path, monkeypatch):
    """A server of AWS's interface, with the roles that `ray up` makes and that the file asks for."""
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray saves its SSH key there
    roles = boto3.client("iam", region_name=CLUSTER["provider"]["region"])
    for name in ("ray-autoscaler-v1", "xpaste-worker"):
        roles.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        roles.create_instance_profile(InstanceProfileName=name)
        roles.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


@pytest.mark.usefixtures("aws")
def test_the_provider_starts_a_node_of_each_type(prepared):
    """Ray's own AWS code, which makes keys, groups and requests of the file, up to the running machine."""
    config = bootstrap_aws(copy.deepcopy(prepared))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, kind in config["available_node_types"].items():
        (node,) = provider.create_node(kind["node_config"], {TAG_RAY_USER_NODE_TYPE: name}, 1).values()
        asked = CLUSTER["available_node_types"][name]["node_config"]
        assert (node.instance_type, node.image_id) == (asked["InstanceType"], asked["ImageId"])
        assert (node.instance_lifecycle == "spot") == ("InstanceMarketOptions" in asked)
        if name != config["head_node_type"]:  # whose role Ray adds later
            assert node.iam_instance_profile["Arn"].endswith("/xpaste-worker")


def _mount(home: Path) -> None:
    """Lay out a node's home as the launcher does, with a token of its own."""
    for remote, local in CLUSTER["file_mounts"].items():
        target = home / remote.removeprefix("~/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if local.startswith("~"):
            target.write_text("0" * 64)
        elif (ROOT / local).is_dir():
            shutil.copytree(ROOT / local, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / local, target)


def _node_environment(home: Path) -> dict[str, str]:
    """What is set on a fresh node: this machine's environment without Python's, Ray's and a user's own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "RAY_", "VIRTUAL_ENV", "XDG_", "HF_", "MAKE", "PYTEST"))
    }
    cache = os.environ.get(
        "UV_CACHE_DIR", str(REAL_HOME / ".cache" / "uv")
    )  # shared: wheels are downloaded once
    return kept | {"HOME": str(home), "UV_CACHE_DIR": cache}


def _on_node(command: str, home: Path, timeout_s: float) -> str:
    """Run one command as the launcher does over SSH; its output."""
    shell = " ".join(_with_interactive(command))
    done = subprocess.run(
        shell,
        shell=True,
        cwd=home,
        env=_node_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def head_commands(prepared, s3):
    """The head's set-up commands, which begin with every node's, with a real bucket for the example's."""
    bucket = s3()
    store, root = FileSystem.from_uri(bucket)
    store.create_dir(f"{root}/models/clip")
    with store.open_output_stream(f"{root}/models/clip/open_clip_config.json") as file:
        file.write(b"{}")
    commands = [command.replace("s3://my-bucket", bucket) for command in prepared["head_setup_commands"]]
    assert commands != prepared["head_setup_commands"]
    return commands


@pytest.fixture(scope="module")
def node(tmp_path_factory, head_commands):
    """The home of a node after its set-up commands."""
    home = tmp_path_factory.mktemp("node")
    _mount(home)
    try:
        for command in head_commands:
            _on_node(command, home, SETUP_DEADLINE_S)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)  # 6 GB


@pytest.mark.faults
def test_setup_commands_make_a_node_that_works(node):
    """In an empty home: the pinned Ray, our command, the environment of Ray and the jobs, models."""
    assert f"ray, version {_locked('ray')}" in _on_node("ray --version", node, 60)
    assert "compose" in _on_node("xpaste --help", node, 60)
    told = _on_node("echo $RAY_AUTH_MODE $RAY_SERVE_ENABLE_HA_PROXY $HF_HOME", node, 60)
    assert told.split() == ["token", "1", f"{node}/models"]
    imported = _on_node(
        "python -c 'import torch, cv2, boto3, xpaste_ray; print(xpaste_ray.__file__)'", node, 120
    )
    assert imported.splitlines()[-1] == f"{node}/checkout/xpaste_ray/__init__.py"
    assert (node / "models" / "clip" / "open_clip_config.json").read_bytes() == b"{}"


@pytest.mark.faults
def test_setup_commands_can_run_again(node, head_commands):
    """`ray up` runs them again when a mounted file has changed."""
    for command in head_commands:
        _on_node(command, node, SETUP_DEADLINE_S)
    assert (node / ".bashrc").read_text().count("source ~/xpaste.env") == 1
