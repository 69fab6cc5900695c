"""A new version of the pool is rolled in by `serve deploy`, while clients ask."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import yaml

from tests.conftest import seal_discs
from tests.pipelines.ray_head import ray_head

pytestmark = pytest.mark.faults

_SERVE = str(Path(sys.executable).parent / "serve")
_DEPLOYED_S, _UPDATED_S = 120, 60


def _config(port, pool, threads=1):
    """threads: of a replica. user_config alone is changed in place, other options start new replicas."""
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port, "request_timeout_s": 70},
        "applications": [
            {
                "name": "xpaste",
                "route_prefix": "/",
                "import_path": "xpaste_ray.serve.deployment:compositor",
                "deployments": [
                    {
                        "name": "compositor",
                        "num_replicas": 2,
                        "ray_actor_options": {"num_cpus": threads},
                        "graceful_shutdown_timeout_s": 20,
                        "user_config": {"pool": str(pool), "insecure": True, "threads": threads},
                    }
                ],
            }
        ],
    }


class Operator:
    """deploy(config): as `serve deploy` does."""

    def __init__(self, folder, head):
        self._file, self._head = folder / "serve.yaml", head

    def deploy(self, config):
        self._file.write_text(yaml.safe_dump(config))
        command = [_SERVE, "deploy", "--address", self._head.address, str(self._file)]
        done = subprocess.run(command, env=self._head.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


class Asking:
    """with Asking(url): a client asks in a loop. found: (pool version, bytes) of each answer, in order."""

    def __init__(self, url):
        self._url, self._over, self.found, self.errors = url, threading.Event(), [], []
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def _ask(self):
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not self._over.is_set():
                try:
                    answer = client.post(f"{self._url}/v1/compose", json={"count": 2, "seed": 1})
                    answer.raise_for_status()
                    self.found.append((answer.headers["x-pool-version"], answer.content))
                except httpx.HTTPError as error:
                    self.errors.append(repr(error))
                time.sleep(0.02)

    def until(self, true, seconds):
        give_up = time.monotonic() + seconds
        while not true(self.found):
            assert time.monotonic() < give_up, (self.errors, [version for version, _ in self.found][-5:])
            time.sleep(0.1)

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(60)


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    """Two, of other discs, with other fingerprints."""
    made = []
    for name, counts in (("old", {"banana": 4}), ("new", {"lion": 5})):
        folder = tmp_path_factory.mktemp(name)
        pool = seal_discs(folder, counts)
        manifest = folder / "pools" / "pool" / "manifest.json"
        manifest.write_text(manifest.read_text().replace("f" * 16, name[0].encode().hex() * 8))
        made.append(folder / "pools" / "pool")
        assert len(pool) == sum(counts.values())
    return made


@pytest.fixture(scope="module", params=[False, True], ids=["ray-proxy", "haproxy"])
def cluster(request, tmp_path_factory, pools):
    """(operator, port) of a head that serves the old pool."""
    folder = tmp_path_factory.mktemp("serve")
    stats, metrics, port = _free_ports(3)
    env = {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
           "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "xpaste_ray.serve.front:middlewares",
           "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "3"}  # fmt: skip
    if request.param:
        env |= {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": f"/tmp/xps-{port}.sock",
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"/tmp/xps-{port}-metrics.sock",
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        }
    with ray_head(env, num_cpus=8) as head:
        operator = Operator(folder, head)
        operator.deploy(_config(port, pools[0]))
        _wait_until_ready(port)
        yield operator, port


def _free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_until_ready(port):
    give_up = time.monotonic() + _DEPLOYED_S
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200:
                return
        assert time.monotonic() < give_up
        time.sleep(0.2)


def _versions(found):
    return [version for version, _ in found]


def test_a_new_pool_comes_without_a_failed_request_and_every_answer_is_of_one_version(cluster, pools):
    operator, port = cluster
    with Asking(f"http://127.0.0.1:{port}") as asking:
        asking.until(lambda found: len(found) >= 10, 30)
        old = asking.found[0]
        operator.deploy(_config(port, pools[1]))
        asking.until(lambda found: len(found) >= 20 and set(_versions(found[-20:])) != {old[0]}, _UPDATED_S)
        asking.until(lambda found: len(set(_versions(found[-20:]))) == 1, _UPDATED_S)  # both replicas
        new = asking.found[-1]
    assert asking.errors == []
    assert old[0] != new[0] and old[1] != new[1]
    assert set(asking.found) == {old, new}  # each version has its bytes, and there is no third


def test_new_replicas_come_without_a_failed_request(cluster, pools):
    """Another option than user_config: Ray starts new replicas, and ends the old ones when they are idle."""
    operator, port = cluster
    with Asking(f"http://127.0.0.1:{port}") as asking:
        asking.until(lambda found: len(found) >= 10, 30)
        operator.deploy(_config(port, pools[0], threads=2))
        before = asking.found[0][0]
        asking.until(lambda found: before not in _versions(found[-20:]), 120)
        seen = len(asking.found)
        asking.until(lambda found: len(found) >= seen + 100, 60)  # the old ones are gone by then
    assert asking.errors == []
