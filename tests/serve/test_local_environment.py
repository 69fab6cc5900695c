"""What Ray's processes are told by `xpaste serve`."""

import os
import socket
import sys
from pathlib import Path

import pytest

from xpaste_ray.config.serve import ServeLimits
from xpaste_ray.serve import front, local


@pytest.fixture
def told(tmp_path, monkeypatch):
    """told(limits, haproxy): the variables that are set."""
    monkeypatch.delitem(sys.modules, "ray", raising=False)

    def make(haproxy=True, **limits):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "XPASTE_"))}
        monkeypatch.setattr(os, "environ", dict(kept))
        local._set_environment(tmp_path, haproxy, ServeLimits(**limits))
        return {name: value for name, value in os.environ.items() if name not in kept}

    return make


def test_an_answer_may_take_its_time_when_haproxy_is_told_of_other_replicas(told):
    """The old HAProxy goes on with what it has begun, and ends."""
    assert int(told(seconds=45.5)["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) > 45.5


def ports_of(told):
    return [int(told()[f"RAY_SERVE_HAPROXY_{name}_PORT"]) for name in ("STATS", "METRICS")]


def test_two_services_that_start_together_have_haproxys_of_their_own(told, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 4321)
    first = ports_of(told)
    monkeypatch.setattr(os, "getpid", lambda: 4333)
    assert len({*first, *ports_of(told)}) == 4


def test_a_port_of_another_service_is_left_to_it(told, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 4321)
    stats, _ = ports_of(told)
    with socket.create_server(("127.0.0.1", stats)):
        assert stats not in ports_of(told)


def test_haproxys_ports_are_none_that_the_kernel_gives_to_others_meanwhile(told):
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(20_000 <= port < min(first, 30_000) for port in ports_of(told))


@pytest.mark.parametrize("haproxy", [False, True])
def test_the_front_has_the_operators_ceilings(told, haproxy, monkeypatch):
    for name, value in told(haproxy, body_bytes=2048, body_seconds=1.5).items():
        monkeypatch.setitem(os.environ, name, value)
    (middleware,) = (one for one in front.middlewares() if one.cls is front.Front)
    assert middleware.kwargs == {"body_bytes": 2048, "body_seconds": 1.5, "alone": True}


def test_rays_own_ports_ask_for_a_token_unless_it_is_somebody_elses_ray(told, tmp_path, monkeypatch):
    assert told()["RAY_AUTH_MODE"] == "token"
    told()
    monkeypatch.delitem(os.environ, "RAY_AUTH_MODE")
    monkeypatch.setitem(os.environ, "RAY_ADDRESS", "10.0.0.1:6379")
    local._set_environment(tmp_path, False, ServeLimits())
    assert "RAY_AUTH_MODE" not in os.environ


def test_what_the_user_set_is_kept(told, tmp_path, monkeypatch):
    told()
    monkeypatch.setitem(os.environ, "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S", "7")
    local._set_environment(tmp_path, True, ServeLimits())
    assert os.environ["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == "7"
