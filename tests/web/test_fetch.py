"""H7, H8, B1: a real server misbehaves in every way that we know of; nothing hangs, nothing is let in."""

import asyncio
import ssl
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address

import pytest
from aiohttp.abc import AbstractResolver
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.web.server import (
    GZIP_BOMB,
    JPEG,
    answer,
    cut_short,
    drip,
    drip_head,
    endless,
    endless_head,
    hang_up,
    in_turn,
    never,
    no_http,
    redirect,
    serving,
)
from xpaste_ray.web import addresses, fetch
from xpaste_ray.web.fetch import Fetched, Fetcher, Limits
from xpaste_ray.web.pace import LocalPace

LIMITS = Limits(
    timeout_s=0.4, max_bytes=200_000, max_redirects=2, retries=0, connections=8, allow_private=True
)


@pytest.fixture
def fetched(server):
    """fetched(path or URL, ...): what came, with `LIMITS` but for those given."""

    def run(*paths, resolver=None, pace=None, **limits):
        fetcher = Fetcher(replace(LIMITS, **limits), pace or LocalPace(1000.0), resolver)
        came = fetcher([path if "://" in path else server.url(path) for path in paths])
        fetcher.close()
        return came[0] if len(came) == 1 else came

    return run


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(fetch, "_FIRST_PAUSE_S", 0.01)


def test_image_comes_as_it_is_and_says_where_from(server, fetched):
    server.routes["/a.jpg"] = answer(JPEG, content_type="image/jpeg")
    url = server.url("/a.jpg")
    assert fetched("/a.jpg") == Fetched(url, JPEG, None, False, url, 200, "image/jpeg")


def test_server_learns_who_asks_and_that_nothing_is_to_be_compressed(server, fetched):
    fetched("/a.jpg", contact="me@cats.example")
    (asked,) = server.asked
    assert asked.headers["user-agent"].startswith("xpaste-ray/")
    assert "me@cats.example" in asked.headers["user-agent"]
    assert asked.headers["accept-encoding"] == "identity"
    assert "cookie" not in asked.headers


MISBEHAVIOUR = [
    ("never answers", never, "timeout", True),
    ("drips", drip, "timeout", True),
    ("drips its head", drip_head, "timeout", True),
    ("endless head", endless_head, "malformed_answer", False),
    ("length is no number", answer(b"x", content_length="many"), "malformed_answer", False),
    ("too large, and says so", answer(bytes(200_001)), "too_large", False),
    ("too large without a length", answer(bytes(200_001), length=False), "too_large", False),
    ("endless", endless, "too_large", False),
    ("claims a terabyte", answer(b"x", content_length=10**12), "too_large", False),
    ("gzip bomb", answer(GZIP_BOMB, content_encoding="gzip"), "compressed", False),
    ("redirects in a circle", redirect("/x"), "too_many_redirects", False),
    ("redirects nowhere", answer(b"", 302), "http_302", False),
    ("redirects to a file", redirect("file:///etc/passwd"), "bad_url", False),
    ("redirects to no name", redirect("http://a..b/"), "bad_url", False),
    ("redirects to nonsense", redirect("http://[zz]/"), "bad_url", False),
    ("404", answer(b"gone", 404), "http_404", False),
    ("403", answer(b"no", 403), "http_403", False),
    ("204", answer(b"", 204), "http_204", False),
    ("500", answer(b"oh", 500), "http_500", True),
    ("429", answer(b"slowly", 429), "http_429", True),
    ("cut short", cut_short(JPEG), "incomplete", True),
    ("hangs up", hang_up, "connection_failed", True),
    ("is no web server", no_http, "malformed_answer", False),
]


@pytest.mark.parametrize(
    ("handler", "reason", "transient"), [pytest.param(*case, id=name) for name, *case in MISBEHAVIOUR]
)
def test_misbehaviour_has_a_name_and_an_end(server, fetched, handler, reason, transient):
    server.routes["/x"] = handler
    began = time.monotonic()
    came = fetched("/x")
    assert (came.reason, came.transient, came.body) == (reason, transient, None)
    assert time.monotonic() - began < 2


def test_largest_allowed_body_is_not_too_large(server, fetched):
    server.routes["/with"], server.routes["/without"] = (
        answer(bytes(200_000)),
        answer(bytes(200_000), length=False),
    )
    assert [len(came.body) for came in fetched("/with", "/without")] == [200_000, 200_000]


def test_nobody_there(fetched):
    came = fetched("http://127.0.0.1:9/")
    assert (came.reason, came.transient) == ("connection_failed", True)


def test_certificate_that_nobody_vouches_for(fetched, tmp_path):
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cats.example")])
    began = datetime(2020, 1, 1)
    certificate = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), began, began + timedelta(days=36500)
    ).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "server.pem").write_bytes(secret + certificate.public_bytes(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem")
    with serving(context) as server:
        came = fetched(f"https://127.0.0.1:{server.port}/")
    assert (came.reason, came.transient, server.asked) == ("tls_failed", False, [])


def test_one_that_never_answers_does_not_hold_up_the_others(server, fetched):
    server.routes |= {"/x": never, "/a": answer(JPEG)}
    began = time.monotonic()
    came = fetched(*["/x", "/a"] * 4)
    assert [one.reason for one in came] == ["timeout", None] * 4
    assert time.monotonic() - began < 2


def test_time_is_for_all_redirects_and_tries_together(server, fetched):
    async def slow(asked, writer):
        await asyncio.sleep(0.25)
        await redirect("/x")(asked, writer)

    server.routes["/x"] = slow
    began = time.monotonic()
    assert fetched("/x", max_redirects=20, retries=5).reason == "timeout"
    assert time.monotonic() - began < 1
    assert server.count("/x") == 2


def test_connections_at_one_time_are_bounded(server, fetched):
    at_once, most = 0, 0

    async def count(asked, writer):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        await answer(b"x")(asked, writer)

    server.routes["/x"] = count
    fetched(*["/x"] * 10, connections=3)
    assert most == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server, fetched, status):
    server.routes |= {
        "/a": redirect("b", status),
        "/b": redirect(server.url("/c"), status),
        "/c": answer(JPEG),
    }
    came = fetched("/a")
    assert (came.body, came.url, came.final_url) == (JPEG, server.url("/a"), server.url("/c"))


def test_one_redirect_too_many(server, fetched):
    server.routes |= {"/a": redirect("/b"), "/b": redirect("/c"), "/c": answer(JPEG)}
    assert fetched("/a", max_redirects=1).reason == "too_many_redirects"
    assert server.count("/c") == 0


@pytest.mark.parametrize(
    "first", [answer(b"", 500), answer(b"", 503), answer(b"", 429), hang_up, cut_short(JPEG)]
)
def test_passing_failure_is_tried_again(server, fetched, first):
    server.routes["/a"] = in_turn(first, first, answer(JPEG))
    assert fetched("/a", retries=2).body == JPEG
    assert server.count("/a") == 3


def test_tries_have_an_end_and_lasting_failures_no_second(server, fetched):
    server.routes |= {"/a": answer(b"", 500), "/b": answer(b"", 404)}
    fetched("/a", "/b", retries=2)
    assert (server.count("/a"), server.count("/b")) == (3, 1)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_heeded_by_all_who_ask_the_host(server, fetched, form):
    later = datetime.now(UTC) + timedelta(seconds=2)
    told = "1" if form == "seconds" else format_datetime(later, usegmt=True)
    server.routes |= {"/a": in_turn(answer(b"", 429, retry_after=told), answer(JPEG)), "/b": answer(JPEG)}
    pace = LocalPace(1000.0)
    assert fetched("/a", retries=1, pace=pace).body == JPEG
    first, second = server.asked
    assert second.at_s - first.at_s >= 0.9
    asyncio.run(pace.hold("127.0.0.1", 0.2))
    asked = time.monotonic()
    assert fetched("/b", pace=pace).body == JPEG
    assert time.monotonic() - asked >= 0.19


def test_host_that_asks_for_an_hour_is_not_tried_again(server, fetched):
    server.routes["/a"] = answer(b"", 429, retry_after=3600)
    came = fetched("/a", retries=3)
    assert (came.reason, came.transient, server.count("/a")) == ("http_429", True, 1)


def test_a_host_is_asked_so_often_and_no_more(server, fetched):
    server.routes["/a"] = answer(b"x")
    fetched(*["/a"] * 6, pace=LocalPace(20.0))
    moments = [asked.at_s for asked in server.asked]
    assert moments[-1] - moments[0] >= 5 / 20 - 0.02


def test_waiting_for_a_turn_does_not_use_up_an_images_time(server, fetched):
    server.routes["/a"] = answer(b"x")
    came = fetched(*["/a"] * 4, timeout_s=0.3, pace=LocalPace(5.0))
    assert [one.body for one in came] == [b"x"] * 4


def test_proxies_of_the_environment_are_not_used(server, fetched, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.routes["/a"] = answer(JPEG)
    assert fetched("/a").body == JPEG


class Names(AbstractResolver):
    """A name server of the tests' own: any name is the first address, the next time the second, ..."""

    def __init__(self, *addresses):
        self.addresses, self.asked = addresses, 0

    async def resolve(self, host, port=0, family=0):
        address = self.addresses[min(self.asked, len(self.addresses) - 1)]
        self.asked += 1
        return [{"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self):
        pass


def test_name_server_that_never_answers(server, fetched):
    class Silent(Names):
        async def resolve(self, host, port=0, family=0):
            await asyncio.sleep(60)

    came = fetched("http://cats.example/", resolver=Silent())
    assert (came.reason, came.transient) == ("timeout", True)


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "::1"])
def test_public_name_of_a_private_address_is_refused(server, fetched, address):
    server.routes["/a"] = answer(JPEG)
    came = fetched(server.url("/a", "cats.example"), resolver=Names(address), allow_private=False)
    assert (came.reason, came.transient) == ("private_address", False)
    assert server.asked == []


def test_private_url_is_refused_without_a_lookup(server, fetched):
    names = Names("8.8.8.8")
    urls = [server.url("/a", host) for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]")]
    came = fetched(*urls, resolver=names, allow_private=False)
    assert {one.reason for one in came} == {"private_address"}
    assert (server.asked, names.asked) == ([], 0)


@pytest.fixture
def only_public(monkeypatch):
    """127.0.0.2 is the public internet, all else is private: the server is at both."""
    public = ip_address("127.0.0.2")
    monkeypatch.setattr(addresses, "is_public", lambda address: ip_address(address) == public)


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1:{port}/secret", "http://169.254.169.254/latest/meta-data/",
     "//127.0.0.1:{port}/secret", "http://localhost:{port}/secret", "http://[::ffff:127.0.0.1]:{port}/secret",
     "http://127.1:{port}/secret",
     "http://0x7f000001:{port}/secret"],
)  # fmt: skip
def test_redirect_to_a_private_address_is_refused(server, fetched, only_public, target):
    server.routes |= {"/a": redirect(target.format(port=server.port)), "/secret": answer(JPEG)}
    came = fetched(server.url("/a", "cats.example"), resolver=Names("127.0.0.2"), allow_private=False)
    assert came.reason in ("private_address", "bad_url") and came.body is None
    assert [asked.path for asked in server.asked] == ["/a"]


def test_name_is_looked_up_once_a_connection_and_that_address_is_the_one_asked(server, fetched, only_public):
    server.routes["/a"] = answer(JPEG)
    names = Names("127.0.0.2", "127.0.0.1")
    assert fetched(server.url("/a", "cats.example"), resolver=names, allow_private=False).body == JPEG
    assert ([asked.address for asked in server.asked], names.asked) == (["127.0.0.2"], 1)


def test_name_that_becomes_private_for_the_second_connection_is_refused_there(server, fetched, only_public):
    server.routes |= {"/a": redirect("/b"), "/b": answer(JPEG)}
    names = Names("127.0.0.2", "127.0.0.1")
    came = fetched(server.url("/a", "cats.example"), resolver=names, allow_private=False)
    assert came.reason == "private_address"
    assert [(asked.path, asked.address) for asked in server.asked] == [("/a", "127.0.0.2")]
