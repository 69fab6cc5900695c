"""The deployment on a real Ray Serve: what operators change while it runs, and what they see of it."""

import json
import re
import socket
import time
from pathlib import Path

import httpx
import pytest
import ray
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from tests.conftest import seal_discs
from xpaste_ray.pool import open_pool
from xpaste_ray.serve.deployment import NAME

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

DEADLINE_S = 60


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    """Two versions: of 3 and of 7 instances."""
    found = []
    for number, counts in enumerate(({"banana": 3}, {"banana": 3, "frog": 4})):
        folder = tmp_path_factory.mktemp(f"pool-{number}")
        found.append(seal_discs(folder, counts, str(number) * 16).folder)
    return found


@pytest.fixture(scope="module")
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray.init(
        address="local", num_cpus=3, include_dashboard=False, log_to_driver=False,
        object_store_memory=200 * 2**20, _system_config={"metrics_report_interval_ms": 1000},
    )  # fmt: skip
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()


def deploy(pool, **told):
    """As `serve deploy` does it."""
    deployment = {
        "name": NAME, "num_replicas": 1, "user_config": {"pool": str(pool), "insecure": True, **told},
        "logging_config": {"encoding": "JSON", "enable_access_log": False},
    }  # fmt: skip
    path = "xpaste_ray.serve.deployment:compositor"
    application = {"name": "xpaste", "route_prefix": "/", "import_path": path, "deployments": [deployment]}
    config = ServeDeploySchema.model_validate({"applications": [application]})
    _get_global_client().deploy_apps(config)


def wait_for_status(*wanted):
    """The application's, once it is one of those."""
    return wait_until(
        lambda: (now := serve.status().applications.get("xpaste")) and now.status in wanted and now
    )


@pytest.fixture
def first(address, pools):
    """What /v1/pool says of the first pool, which is served when a test begins."""
    deploy(pools[0])
    wait_for_status("RUNNING")
    return wait_until(lambda: (now := told_by(address))["instances"] == 3 and now["update"] == "none" and now)


def told_by(address):
    return httpx.get(f"{address}/v1/pool").json()


def wait_until(true):
    ends = time.monotonic() + DEADLINE_S
    while not (found := true()):
        assert time.monotonic() < ends, "not within its time"
        time.sleep(0.2)
    return found


def test_user_config_changes_options_and_the_pool_without_another_replica(address, pools, first):
    assert first["limits"]["count"] == 64
    before = replicas()
    deploy(pools[1], limits={"count": 2})
    told = wait_until(lambda: (now := told_by(address))["instances"] == 7 and now)
    assert told["pool_version"] == open_pool(pools[1]).fingerprint != first["pool_version"]
    assert told["limits"]["count"] == 2
    assert httpx.post(f"{address}/v1/compose", json={"count": 3}).status_code == 422
    assert replicas() == before


def test_a_user_config_that_cannot_be_served_leaves_what_is_served(address, pools, first, tmp_path):
    before = replicas()
    deploy(tmp_path / "nothing")
    wait_until(lambda: told_by(address)["update"] == "failed")
    assert httpx.post(f"{address}/v1/compose", json={"count": 1}).status_code == 200
    wait_until(lambda: "holds no sealed pool" in logs())
    deploy(pools[0], limits={"count": 5})
    told = wait_until(lambda: (now := told_by(address))["limits"]["count"] == 5 and now)
    assert told["update"] == "none" and replicas() == before


def test_a_first_user_config_that_cannot_be_served_is_told_by_serves_status(address, first, tmp_path):
    serve.delete("xpaste")
    deploy(tmp_path / "nothing")
    status = wait_for_status("DEPLOY_FAILED", "UNHEALTHY")
    (deployment,) = status.deployments.values()
    assert "holds no sealed pool" in deployment.message or "reconfigure" in deployment.message
    serve.delete("xpaste")


def test_a_request_is_one_line_of_json_with_what_it_was(address, first):
    answer = httpx.post(f"{address}/v1/compose", json={"count": 2}, headers={"X-Request-ID": "seen-again"})
    lines = wait_until(lambda: [line for line in log_lines("seen-again") if "xpaste_request_id" in line])
    (told,) = (json.loads(line) for line in lines)
    assert told["status"] == 200 and told["count"] == 2 and told["bytes"] == len(answer.content)
    assert told["pool_version"] == first["pool_version"] and 0 < told["seconds"] < DEADLINE_S


def test_prometheus_hears_of_requests_images_and_the_version(address, first):
    for count in (1, 3):
        assert httpx.post(f"{address}/v1/compose", json={"count": count}).status_code == 200
    assert httpx.post(f"{address}/v1/compose", json={"count": 0}).status_code == 422

    def heard():
        found = metrics()
        images = found.get(("xpaste_serve_images_total", None), 0)
        return found if images >= 4 and ("xpaste_serve_requests_total", "422") in found else None

    found = wait_until(heard)
    assert found["xpaste_serve_requests_total", "422"] >= 1
    assert found["xpaste_serve_pool", first["pool_version"]] >= 1  # of each replica that was
    assert found["xpaste_serve_compose_seconds_count", None] >= 2


def replicas():
    """All that there were: each has a log of its own."""
    return [file.name for file in log_files()]


def log_files():
    session = Path(ray._private.worker._global_node.get_logs_dir_path())
    return sorted((session / "serve").glob(f"replica_xpaste_{NAME}*.log"))


def logs():
    return "\n".join(file.read_text(errors="replace") for file in log_files())


def log_lines(text):
    return [line for line in logs().splitlines() if text in line]


def metrics():
    url = f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"
    try:
        text = httpx.get(url, timeout=5).text
    except httpx.TransportError:  # the agent is not up yet
        return {}
    found = {}
    for name, tags, value in re.findall(r"^ray_(xpaste_serve_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        told = dict(re.findall(r'(\w+)="([^"]*)"', tags))
        key = name, told.get("status") or told.get("pool_version")
        found[key] = found.get(key, 0) + float(value)
    return found
