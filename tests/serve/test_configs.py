"""The files that operators deploy are what Ray and this package take, and they work."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from tests.conftest import seal_discs
from xpaste_ray.config.serve import ServeSettings
from xpaste_ray.serve import front
from xpaste_ray.serve.tokens import VARIABLE as TOKEN

CONFIGS = Path(__file__).resolve().parents[2] / "serve_configs"
SERVE = Path(sys.executable).with_name("serve")
STARTS_WITHIN_S = 90


def read(name):
    return yaml.safe_load((CONFIGS / name).read_text())


def user_config(config):
    (application,) = config["applications"]
    (deployment,) = application["deployments"]
    return deployment["user_config"]


@pytest.mark.parametrize("name", ["local.yaml", "compositor.yaml"])
def test_a_config_is_ray_serves_and_its_user_config_ours(name):
    config = read(name)
    ServeDeploySchema.model_validate(config)
    ServeSettings.model_validate(user_config(config))


def test_only_the_local_config_goes_without_a_token_and_it_listens_to_this_machine():
    assert read("local.yaml")["http_options"]["host"] == "127.0.0.1"
    assert "insecure" not in user_config(read("compositor.yaml"))


def test_ray_waits_longer_than_a_replica_for_an_answer_and_for_its_end():
    config = read("compositor.yaml")
    seconds = ServeSettings.model_validate(user_config(config)).limits.seconds
    (deployment,) = config["applications"][0]["deployments"]
    assert config["http_options"]["request_timeout_s"] > seconds
    assert deployment["graceful_shutdown_timeout_s"] > seconds


def test_a_replica_lets_more_requests_in_than_may_wait_so_that_it_tells_them_itself():
    (deployment,) = read("compositor.yaml")["applications"][0]["deployments"]
    settings = ServeSettings.model_validate(deployment["user_config"])
    assert deployment["max_ongoing_requests"] > settings.limits.waiting + settings.threads


def test_kubernetes_gets_the_same_config_and_what_the_cluster_needs_in_its_environment():
    spec = read("rayservice.yaml")["spec"]
    assert yaml.safe_load(spec["serveConfigV2"]) == read("compositor.yaml")
    cluster = spec["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        environment = {one["name"]: one["value"] for one in container["env"]}
        assert environment[front.VARIABLE] == front.IMPORT_PATH
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert str(Path(user_config(read("compositor.yaml"))["token_file"]).parent) in mounts


@contextlib.contextmanager
def deployed(config, folder, **environment):
    """A server by `serve run`; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config["http_options"] |= {"port": port, "host": "127.0.0.1"}
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    told = {**os.environ, "RAY_ADDRESS": "local", front.VARIABLE: front.IMPORT_PATH, **environment}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([SERVE, "run", file], cwd=folder, env=told, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        ends = time.monotonic() + STARTS_WITHIN_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/readyz").status_code == 200:
                    break
            assert server.poll() is None and time.monotonic() < ends, (folder / "log").read_text()[-3000:]
            time.sleep(0.3)
        yield address
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)


@pytest.mark.faults
def test_the_local_config_serves_the_pool_of_the_working_directory(tmp_path):
    seal_discs(tmp_path / "discs", {"banana": 2, "frog": 1})
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(tmp_path / "discs" / "pools" / "pool")
    with deployed(read("local.yaml"), tmp_path) as address:
        assert httpx.get(f"{address}/v1/pool").json()["instances"] == 3
        image = httpx.get(f"{address}/v1/samples/small/7/0", headers={"Accept": "image/jpeg"})
        assert image.status_code == 200 and image.content[:2] == b"\xff\xd8"


@pytest.mark.faults
def test_the_cluster_config_serves_with_its_token_only(tmp_path):
    seal_discs(tmp_path / "discs", {"banana": 2, "frog": 1})
    (tmp_path / "tokens").write_text("a-token-of-enough-characters\n")
    config = read("compositor.yaml")
    edited = user_config(config)
    edited |= {"pool": str(tmp_path / "discs" / "pools" / "pool"), "token_file": str(tmp_path / "tokens")}
    edited["backgrounds"] = edited.pop("background_images") and "#808080"
    config["applications"][0]["deployments"][0]["autoscaling_config"]["min_replicas"] = 1
    with deployed(config, tmp_path, **{TOKEN: ""}) as address:
        assert httpx.get(f"{address}/v1/pool").status_code == 401
        told = {"Authorization": "Bearer a-token-of-enough-characters"}
        answer = httpx.get(f"{address}/v1/pool", headers=told)
        assert answer.json()["instances"] == 3 and answer.json()["recipes"] == ["train"]
