"""What a web page in the user's own browser can do to a service without a token: nothing."""

import logging

import pytest
from starlette.testclient import TestClient

from tests.conftest import seal_discs
from xpaste_ray.config.serve import ServeSettings
from xpaste_ray.serve.app import make_app
from xpaste_ray.serve.local import Address, check_exposure
from xpaste_ray.serve.service import Service

LOG = logging.getLogger("tests")
LOOPBACK = Address("127.0.0.1", 8000)


@pytest.fixture
def client_of(tmp_path, monkeypatch):
    """client_of(settings): of the app with them. Its own Host header is `localhost`."""
    monkeypatch.delenv("XPASTE_SERVE_TOKEN", raising=False)
    seal_discs(tmp_path / "run", {"banana": 1})

    def make(address=LOOPBACK, **settings):
        told = check_exposure(
            address, ServeSettings(pool=str(tmp_path / "run" / "pools" / "pool"), **settings)
        )
        app = make_app(Service(told, LOG), lambda exchange: None, LOG)
        return TestClient(app, base_url="http://localhost")

    return make


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "192.0.2.7:80"]
)
def test_it_answers_by_its_own_names_and_by_any_address(client_of, host):
    assert client_of().get("/v1/pool", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "[::1",
        "@",
    ],
)
def test_a_name_that_a_web_page_gave_this_machine_is_refused(client_of, host):
    answer = client_of().get("/v1/pool", headers={"Host": host})
    assert answer.status_code == 421 and answer.json()["request_id"]
    assert "pool_version" not in answer.json()


def test_the_operator_may_name_more(client_of):
    client = client_of(hosts=("Compose.Example",))
    assert client.get("/v1/pool", headers={"Host": "compose.example:80"}).status_code == 200
    assert client.get("/v1/pool", headers={"Host": "evil.example"}).status_code == 421


def test_where_anyone_may_compose_this_machine_has_its_names_still(client_of):
    client = client_of(Address("0.0.0.0", 8000), insecure=True)
    assert client.get("/v1/pool", headers={"Host": "192.0.2.7"}).status_code == 200
    assert client.get("/v1/pool", headers={"Host": "evil.example"}).status_code == 421


def test_with_a_token_any_name_will_do(client_of, tmp_path):
    (tmp_path / "tokens").write_text("0123456789abcdef\n")
    client = client_of(token_file=str(tmp_path / "tokens"))
    told = {"Host": "compose.example"}
    assert client.get("/v1/pool", headers=told).status_code == 401
    assert client.get("/v1/pool", headers=told | {"Authorization": "Bearer 0123456789abcdef"}).is_success


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json", ""],
)
def test_what_a_form_of_a_web_page_can_send_is_refused(client_of, media_type):
    answer = client_of().post("/v1/compose", content='{"count": 1}', headers={"Content-Type": media_type})
    assert answer.status_code == 415


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_taken(client_of, media_type):
    answer = client_of().post("/v1/plans", content='{"count": 1}', headers={"Content-Type": media_type})
    assert answer.status_code == 200


def test_a_page_of_another_site_is_not_allowed_to_send_json(client_of):
    """A browser asks first, and needs a yes."""
    told = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type"}  # fmt: skip
    answer = client_of().options("/v1/compose", headers=told)
    assert not answer.is_success
    assert not [name for name in answer.headers if name.startswith("access-control-")]
