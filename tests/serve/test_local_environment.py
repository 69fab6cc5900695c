"""What Ray's processes are told by `xpaste serve`."""

import os
import sys

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


def test_two_services_on_a_machine_have_haproxys_of_their_own(told):
    first, second = told(), told()
    ports = [
        one[f"RAY_SERVE_HAPROXY_{name}_PORT"] for one in (first, second) for name in ("STATS", "METRICS")
    ]
    assert len(set(ports)) == 4


@pytest.mark.parametrize("haproxy", [False, True])
def test_the_front_has_the_operators_ceilings(told, haproxy, monkeypatch):
    for name, value in told(haproxy, body_bytes=2048, body_seconds=1.5).items():
        monkeypatch.setitem(os.environ, name, value)
    (middleware,) = (one for one in front.middlewares() if one.cls is front.Front)
    assert middleware.kwargs == {"body_bytes": 2048, "body_seconds": 1.5}


def test_what_the_user_set_is_kept(told, tmp_path, monkeypatch):
    told()
    monkeypatch.setitem(os.environ, "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S", "7")
    local._set_environment(tmp_path, True, ServeLimits())
    assert os.environ["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"] == "7"
