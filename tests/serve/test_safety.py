"""What is done to a running service, and what must come of it; by Ray's own proxy and by HAProxy."""

import asyncio
import base64
import concurrent.futures
import gzip
import itertools
import json
import os
import re
import signal
import socket
import statistics
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.serve import wire
from tests.serve.live import TOKEN, alive, live, rss_mb

pytestmark = pytest.mark.faults

CLIENT_S = 5  # HAProxy's for a connection on which nothing moves; `xpaste serve` gives it 60
BODY_S = 3
LIMIT_S = 10
BODY_BYTES = 1_048_576
SLACK_MB = 64
_JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module", params=[False, True], ids=["ray-proxy", "haproxy"])
def server(request):
    options = [
        *("--replicas", "2", "--set", "recipes={one: {preset: xpaste}}"),
        *("--set", f"limits.seconds={LIMIT_S}", "--set", f"limits.body_seconds={BODY_S}"),
    ]
    env = {"RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(CLIENT_S)}
    with live(*options, haproxy=request.param, env=env) as started:
        started.file = started.home / "tokens"
        with started.client() as client:  # each replica has composed once
            for seed in range(8):
                assert client.post("/v1/compose", json={"count": 4, "seed": seed}).status_code == 200
        yield started


@pytest.fixture
def client(server):
    with server.client() as made:
        yield made


class Flat:
    """with Flat(server): no proxy and no replica grows by more than SLACK_MB, looked at all the time."""

    def __init__(self, server, slack_mb=SLACK_MB):
        self._pids, self._slack_mb = [*server.proxies, *server.replicas], slack_mb
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self.grown = dict.fromkeys(self._pids, 0.0)

    def __enter__(self):
        assert self._pids
        self._before = {pid: rss_mb(pid) for pid in self._pids}
        self._watch.start()
        return self

    def _look(self):
        while True:
            for pid in self._pids:
                self.grown[pid] = max(self.grown[pid], rss_mb(pid) - self._before[pid])
            if self._over.wait(0.05):
                return

    def __exit__(self, kind, error, trace):
        self._over.set()
        self._watch.join()
        if kind is None:
            assert max(self.grown.values()) < self._slack_mb, self.grown


def cpu_s(server):
    """CPU-seconds of the replicas so far."""
    told = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in server.replicas]
    return sum(int(one[11]) + int(one[12]) for one in told) / os.sysconf("SC_CLK_TCK")


def latencies(client, count=100):
    """Seconds of each of so many requests that need no core."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        assert client.get("/v1/categories").status_code == 200
        found.append(time.perf_counter() - began)
    return found


def p99(seconds):
    return statistics.quantiles(seconds, n=100)[98]


def check_problem(answer, status, home="/home"):
    """Problem details with the request id of the header, and nothing of the inside."""
    text = answer.body if isinstance(answer, wire.Answer) else answer.content
    code = answer.status if isinstance(answer, wire.Answer) else answer.status_code
    assert code == status, text[:500]
    assert answer.headers["content-type"] == "application/problem+json", text[:500]
    told = json.loads(text)
    assert told["status"] == status and told["title"] and told["detail"]
    assert re.fullmatch(r"[A-Za-z0-9_.:-]{1,128}", told["request_id"])
    assert told["request_id"] == answer.headers["x-request-id"]
    for inside in ("Traceback", "site-packages", ".py", "/tmp", "/usr", "/root", str(home), TOKEN, "ray::"):
        assert inside not in text.decode(), text
    return told


# --- H1: who asks ---------------------------------------------------------------------------------


def _basic(password):
    return "Basic " + base64.b64encode(b"any:" + password.encode()).decode()


@pytest.mark.parametrize(
    "told",
    [
        None, "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Bearer {TOKEN.upper()}",
        f"Token {TOKEN}", TOKEN, f"Bearer {TOKEN} {TOKEN}", _basic(TOKEN[:-1]), "Basic !!!", "Basic",
        "Bearer \xff\xfe", f"Bearer {'x' * 8000}",
    ],
)  # fmt: skip
def test_without_the_right_token_there_is_no_answer(server, told):
    headers = [] if told is None else [f"Authorization: {told}"]
    for path in ("/v1/compose", "/v1/plans", "/v1/render"):
        answer = wire.post(server.port, path, b'{"count": 1}', *headers, token=None)
        check_problem(answer, 401, server.home)
        assert answer.headers["www-authenticate"] == 'Basic realm="xpaste"'


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/openapi.json", "/v1/pool", "/v1/categories", "/v1/instances", "/v1/samples/one/1/0",
     "/healthz/", "//healthz", "/healthz/../v1/pool", "/nowhere",
     f"/v1/pool?token={TOKEN}", f"/v1/pool?access_token={TOKEN}", f"/v1/pool?authorization=Bearer%20{TOKEN}"],
)  # fmt: skip
def test_only_health_is_open(server, path):
    check_problem(wire.get(server.port, path, token=None), 401, server.home)


def test_health_needs_no_token(server):
    for path in ("/healthz", "/readyz"):
        assert wire.get(server.port, path, token=None).status == 200


def test_a_browser_may_give_the_token_as_a_password(server):
    told = f"Authorization: {_basic(TOKEN)}"
    assert wire.get(server.port, "/v1/pool", told, token=None).status == 200


def test_a_token_that_was_taken_out_of_the_file_opens_no_more(server, client):
    other = "another-token-0123456789"
    try:
        server.file.write_text(f"{other}\n")
        time.sleep(1.5)  # it is read again after a second
        assert {client.get("/v1/pool").status_code for _ in range(6)} == {401}
        told = {"Authorization": f"Bearer {other}"}
        assert {client.get("/v1/pool", headers=told).status_code for _ in range(6)} == {200}
    finally:
        server.file.write_text(f"{TOKEN}\n")
        time.sleep(1.5)
    assert {client.get("/v1/pool").status_code for _ in range(6)} == {200}


def test_no_work_is_done_for_who_has_no_token(server, client):
    began = cpu_s(server)
    assert client.post("/v1/compose", json={"count": 64, "seed": 5}).status_code == 200
    answered = cpu_s(server) - began
    body = json.dumps({"count": 64, "seed": 6}).encode()
    began = cpu_s(server)
    for _ in range(20):
        assert wire.post(server.port, "/v1/compose", body, token="x" * 32).status == 401
    assert cpu_s(server) - began < max(answered, 0.5)  # 20 of them would be 20 times as much


# --- H3: bodies and connections -------------------------------------------------------------------


@pytest.mark.parametrize("token", [TOKEN, None])
@pytest.mark.parametrize("length", ["10000000000", str(BODY_BYTES + 1), "9" * 30])
def test_a_body_that_says_it_is_huge_is_refused_unread(server, length, token):
    with Flat(server):
        told = ("Content-Type: application/json", f"Content-Length: {length}")
        answer = wire.ask(server.port, [wire.head("POST", "/v1/compose", *told, token=token) + b"\r\n"])
    if length == "9" * 30:  # a number that no server reads
        assert answer.status in (400, 413)
    else:
        check_problem(answer, 413, server.home)
    assert answer.seconds < 5


@pytest.mark.parametrize("token", [TOKEN, None])
def test_an_endless_body_is_refused_once_it_is_too_large(server, token):
    sent = 0

    def parts():
        nonlocal sent
        told = ("Content-Type: application/json", "Transfer-Encoding: chunked")
        yield wire.head("POST", "/v1/compose", *told, token=token) + b"\r\n"
        while sent < 64 * 2**20:
            sent += 65536
            yield b"10000\r\n" + b"[" * 65536 + b"\r\n"

    with Flat(server):
        answer = wire.ask(server.port, parts())
    assert answer.status in ((413,) if token else (401, 413))
    assert sent < 32 * 2**20  # what was on its way, in buffers of the system


def test_a_packed_body_is_not_unpacked(server):
    bomb = gzip.compress(b" " * (500 * 2**20), 9)
    assert len(bomb) < BODY_BYTES
    with Flat(server):
        check_problem(wire.post(server.port, "/v1/compose", bomb, "Content-Encoding: gzip"), 415, server.home)
        check_problem(wire.post(server.port, "/v1/compose", bomb), 422, server.home)


def test_half_open_connections_are_in_nobodys_way(server, client):
    """1,000 heads that never end. HAProxy leaves them after its timeout, Ray's own proxy never."""
    before = p99(latencies(client))
    begun = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(1000)]
    try:
        with Flat(server):
            for connection in begun:
                connection.sendall(b"POST /v1/compose HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            during = p99(latencies(client))
        assert during < 2 * before + 0.05
        time.sleep(CLIENT_S + 1)
        assert {_is_open(connection) for connection in begun} == {not server.haproxy}
    finally:
        for connection in begun:
            connection.close()


def _is_open(connection):
    """HAProxy says 408 before it closes."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_a_body_that_never_comes_is_waited_for_so_long_and_no_longer(server, client):
    told = ("Content-Type: application/json", "Content-Length: 1000")
    begun = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(100)]
    try:
        before = p99(latencies(client))
        for connection in begun:
            connection.sendall(wire.head("POST", "/v1/compose", *told) + b"\r\n{")
        began = time.monotonic()
        during = p99(latencies(client))
        assert during < 2 * before + 0.1
        first = {connection.recv(12) for connection in begun}
        assert time.monotonic() - began < BODY_S + 5
        assert first == {b"HTTP/1.1 408"}
    finally:
        for connection in begun:
            connection.close()
    assert client.post("/v1/compose", json={"count": 1}).status_code == 200


def test_uploads_that_wait_for_a_busy_replica_are_no_memory(server, client):
    """300 bodies of the largest size, slowly, while all cores compose. A connection
    is little memory, whatever it sends, and the cores' own work is some."""
    body = b'{"preset": "' + b"x" * (BODY_BYTES - 100) + b'"}'
    request = wire.head("POST", "/v1/compose", *_told(body), "Connection: close") + b"\r\n" + body

    async def upload():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            for start in range(0, len(request), 2**17):
                writer.write(request[start : start + 2**17])
                await writer.drain()
                await asyncio.sleep(0.1)
            return await asyncio.wait_for(reader.read(12), 30)
        except OSError:
            return b""
        finally:
            writer.transport.abort()

    async def all_at_once():
        busy = [
            asyncio.to_thread(client.post, "/v1/compose", json={"count": 64, "seed": n}) for n in range(8)
        ]
        tasks = [asyncio.create_task(one) for one in busy]
        await asyncio.sleep(0.2)
        found = await asyncio.gather(*(upload() for _ in range(300)))
        await asyncio.gather(*tasks)
        return found

    with Flat(server, slack_mb=300):
        found = asyncio.run(all_at_once())
    assert set(found) <= {b"HTTP/1.1 422", b"HTTP/1.1 503", b"HTTP/1.1 429", b"HTTP/1.1 408", b""}
    assert client.post("/v1/compose", json={"count": 1}).status_code == 200


def _told(body):
    return "Content-Type: application/json", f"Content-Length: {len(body)}"


# --- H4, H7, H13: what is asked -------------------------------------------------------------------

ABSURD = {
    "count": b'{"count": 1000000000}',
    "count-zero": b'{"count": 0}',
    "count-negative": b'{"count": -1}',
    "count-true": b'{"count": [1]}',
    "first": b'{"first": 1e300}',
    "seed-negative": b'{"seed": -1}',
    "seed-large": b'{"seed": 9223372036854775808}',
    "size": b'{"size": 100000}',
    "size-above-ceiling": b'{"size": 4096}',
    "size-zero": b'{"size": [0, 64]}',
    "megapixels": b'{"count": 64, "size": 2048}',
    "steps": b'{"steps": 1000000}',
    "nan": b'{"options": {"flip_probability": NaN}}',
    "nan-seed": b'{"seed": NaN}',
    "infinity": b'{"options": {"canvas": {"scale": [0.1, Infinity]}}}',
    "overflow": b'{"options": {"flip_probability": 1e999}}',
    "digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "digits-in-options": b'{"options": {"flip_probability": ' + b"9" * 5000 + b"}}",
    "instances": b'{"options": {"instances": [1, 1000000]}}',
    "long-text": b'{"preset": "' + b"x" * 1_000_000 + b'"}',
    "long-category": b'{"categories": ["' + b"x" * 1_000_000 + b'"]}',
    "long-key": b'{"options": {"' + b"x" * 1_000_000 + b'": 1}}',
    "bad-utf-8": b'{"preset": "\xff\xfe"}',
    "surrogate": rb'{"preset": "\ud800"}',
    "surrogate-key": rb'{"\ud800": 1, "options": {"\ud800": 1}}',
    "surrogate-option": rb'{"options": {"blend": ["\ud800"]}}',
    "surrogate-category": rb'{"categories": ["\ud800"]}',
    "nul": rb'{"categories": ["\u0000"]}',
    "deep": b'{"options": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep-objects": b'{"options": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "not-an-object": b"[1]",
    "null": b"null",
    "cut": b'{"count": 1',
    "empty": b"",
}


@pytest.mark.parametrize("body", ABSURD.values(), ids=ABSURD)
def test_absurd_requests_are_refused_at_once(server, body):
    answer = wire.post(server.port, "/v1/compose", body)
    check_problem(answer, answer.status if answer.status == 400 else 422, server.home)
    assert answer.seconds < 3
    assert len(answer.body) < 10_000  # what was sent does not come back


@pytest.mark.parametrize(
    "path", ["/v1/samples/one/-1/0", "/v1/samples/one/1/1e9", "/v1/samples/one/9223372036854775808/0",
             "/v1/samples/one/1/9007199254740992", "/v1/samples/one/nan/0", "/v1/instances?limit=1000000000",
             "/v1/instances?offset=-1", "/v1/instances?limit=NaN"]
)  # fmt: skip
def test_absurd_numbers_in_paths_are_refused(server, path):
    check_problem(wire.get(server.port, path), 422, server.home)


def test_addresses_are_accepted_nowhere(server, client):
    """Fields for one are unknown, ids are looked up, and nobody is called."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        own = f"http://127.0.0.1:{trap.getsockname()[1]}/a.png"
        trap.settimeout(1)
        (plan,) = client.post("/v1/plans", json={"count": 1, "seed": 1}).json()["plans"]
        for url in (own, "http://169.254.169.254/latest", "http://[::ffff:169.254.169.254]/",
                    "http://2130706433/", "file:///etc/passwd", "s3://bucket/key"):  # fmt: skip
            asked = [
                ("/v1/compose", {name: url})
                for name in ("url", "image", "image_url", "background", "backgrounds", "pool", "preset")
            ]
            asked += [
                ("/v1/compose", {"options": {name: url}})
                for name in ("backgrounds", "background_images", "contexts", "size.table")
            ]
            asked += [
                ("/v1/compose", {"categories": [url]}),
                ("/v1/render", {"plan": plan | {"background_id": url}}),
                ("/v1/render", {"plan": plan | {"url": url}}),
            ]
            for path, body in asked:
                answer = client.post(path, json=body)
                check_problem(answer, 422, server.home)
                assert answer.elapsed.total_seconds() < 5
        with pytest.raises(TimeoutError):
            trap.accept()


@pytest.mark.parametrize(
    "trick",
    ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%5c..%5cboot.ini",
     "%2fetc%2fpasswd", "//etc/passwd", "a%00b", "%00", "..", "%2e%2e", "manifest.json", "..%2fmanifest.json",
     "%c0%ae%c0%ae%2f", "%ff", "....//", "~root", "%0d%0aX-Evil:%201", "a%0ab", "x" * 5000],
)  # fmt: skip
def test_paths_in_ids_and_recipes_are_names_that_nobody_has(server, trick):
    for path in (f"/v1/instances/{trick}", f"/v1/instances/{trick}.png", f"/v1/samples/{trick}/1/0"):
        answer = wire.get(server.port, path)
        assert answer.status in (400, 404, 422), (path, answer)
        assert b"root:" not in answer.body and b"fingerprint" not in answer.body
        assert "x-evil" not in answer.headers
        if answer.status != 400:  # which a proxy says of what is no HTTP
            check_problem(answer, answer.status, server.home)


@pytest.mark.parametrize(
    "trick", ["../xpaste", "/etc/passwd", "xpaste.yaml", "./xpaste", "xpaste\0", "%2e%2e/xpaste", "~/x.yaml"]
)
def test_a_preset_is_a_name_and_no_file(server, client, trick):
    check_problem(client.post("/v1/compose", json={"preset": trick}), 422, server.home)


# --- H14, and the ids of requests -----------------------------------------------------------------


def test_every_error_has_the_id_that_the_log_has(server, client):
    (plan,) = client.post("/v1/plans", json={"count": 1}).json()["plans"]
    told = _JSON
    asked = {
        400: ("POST", "/v1/compose", {"content": b"{", "headers": told}),
        404: ("GET", "/v1/instances/nobody", {}),
        405: ("DELETE", "/v1/compose", {}),
        406: ("POST", "/v1/compose", {"json": {}, "headers": {"Accept": "text/html"}}),
        409: ("POST", "/v1/compose", {"json": {"pool_version": "other"}}),
        415: ("POST", "/v1/compose", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}),
        422: ("POST", "/v1/render", {"json": {"plan": plan | {"background_id": "/etc/passwd"}}}),
    }
    ids = {}
    for status, (method, path, options) in asked.items():
        answer = client.request(method, path, **options)
        expected = 422 if status == 400 and answer.status_code == 422 else status
        ids[expected] = check_problem(answer, expected, server.home)["request_id"]
    for request_id in ids.values():
        _until(lambda wanted=request_id: server.logged(wanted), 15)


@pytest.mark.parametrize(
    "told", ["y" * 10_000, "a b", 'a"} {"level": "ERROR"', "\x1b[31mred", "\xff\xfe", "a\tb", "", "${jndi:x}"]
)
def test_a_clients_request_id_is_taken_only_if_it_can_be_logged(server, told):
    answer = wire.get(server.port, "/v1/instances/nobody", f"X-Request-ID: {told}")
    if answer.status != 400:  # what is no HTTP
        given = check_problem(answer, 404, server.home)["request_id"]
        assert given != told and len(given) == 36
    if len(told) > 3:
        assert not server.logged(told[:200])


def test_a_clients_request_id_of_two_lines_is_two_headers_or_refused(server):
    answer = wire.get(server.port, "/v1/instances/nobody", "X-Request-ID: good-id-1\r\n ERROR: folded")
    assert answer.status in (400, 404)
    assert not [line for line in server.logged("folded") if line.startswith((" ERROR", "ERROR: folded"))]


def test_a_good_request_id_is_kept_and_logged(server):
    answer = wire.get(server.port, "/v1/instances/nobody", "X-Request-ID: job-7:step.12")
    assert check_problem(answer, 404, server.home)["request_id"] == "job-7:step.12"
    _until(lambda: server.logged("job-7:step.12"), 15)


def _until(true, seconds):
    give_up = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < give_up
        time.sleep(0.2)
    return found


# --- Headers by which Ray's own servers can be told what to do --------------------------------------


@pytest.mark.parametrize("name", ["x-request-timeout-seconds", "X-Request-Timeout-Seconds"])
def test_a_client_does_not_set_rays_timeout(server, client, name):
    answer = client.post("/v1/compose", json={"count": 32, "seed": 3}, headers={name: "0.001"})
    assert answer.status_code == 200


# --- H15: one bad request among good ones -----------------------------------------------------------


def test_only_the_malformed_request_fails(server, client):
    """At the same time, the same way; the good ones' bytes are the same as alone."""
    good = [{"count": 2, "seed": seed} for seed in range(6)]
    alone = [client.post("/v1/compose", json=body).content for body in good]
    bad = [ABSURD[name] for name in ("nan", "deep", "surrogate", "cut", "bad-utf-8", "megapixels")]

    def one(body):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post("/v1/compose", content=content, headers=_JSON)

    mixed = [body for pair in zip(good, bad, strict=True) for body in pair]
    with concurrent.futures.ThreadPoolExecutor(len(mixed)) as threads:
        answers = list(threads.map(one, mixed))
    assert [answer.content for answer in answers[::2]] == alone
    assert {answer.status_code for answer in answers[1::2]} <= {400, 422}


# --- H5, H6: overload and disconnects ---------------------------------------------------------------


async def _offer(server, rate, seconds, body):
    """Requests at a rate, whatever becomes of them: (status, when, seconds, retry-after) of each answer."""
    found, start = [], time.perf_counter()

    async def one(number):
        await asyncio.sleep(number / rate)
        began = time.perf_counter()
        answer = await wire.post_and_wait(
            server.port, "/v1/compose", json.dumps(body | {"seed": number}).encode()
        )
        now = time.perf_counter()
        found.append((answer.status, now - start, now - began, answer.headers.get("retry-after")))

    await asyncio.gather(*(one(number) for number in range(int(rate * seconds))))
    return found


def _rate(server, body, seconds=4.0, clients=4):
    """Answers per second of so many clients that ask one after another."""
    began, done = time.monotonic(), itertools.count()

    def ask(number):
        with server.client() as client:
            while time.monotonic() < began + seconds:
                assert client.post("/v1/compose", json=body | {"seed": number}).status_code == 200
                next(done)

    with concurrent.futures.ThreadPoolExecutor(clients) as threads:
        list(threads.map(ask, range(clients)))
    return next(done) / (time.monotonic() - began)


def test_what_is_too_much_is_refused_and_the_rest_is_answered_in_time(server, client):
    body = {"count": 64}
    before = _rate(server, body)
    found = asyncio.run(_offer(server, 10 * before, 8, body))
    time.sleep(1)
    after = _rate(server, body)  # it recovered, 10 s later at most
    refused = [(status, wait) for status, _, _, wait in found if status != 200]
    assert {status for status, _ in refused} <= {429, 503} and refused
    assert all(wait is not None and int(wait) >= 1 for _, wait in refused)
    accepted = [(when, took) for status, when, took, _ in found if status == 200]
    assert max(took for _, took in accepted) < LIMIT_S + 5  # of composing; the rest is the busy client's
    goodput = len(accepted) / max(when for when, _ in accepted)
    assert goodput > 0.7 * min(before, after), (before, goodput, after)
    _until(lambda: max(after, _rate(server, body)) > 0.6 * before, 30)  # on a machine that others use, too


def test_capacity_is_the_same_after_a_thousand_clients_went_away(server, client):
    """In the middle of their requests; every other one says that it does not mind."""
    body = json.dumps({"count": 16}).encode()
    told = [wire.head("POST", "/v1/compose", *_told(body), *more) + b"\r\n" + body
            for more in ((), ("x-request-disconnect-disabled: ?1",))]  # fmt: skip
    before, cost = _rate_and_cost(server)

    async def go_away():
        gate = asyncio.Semaphore(24)

        async def one(number):
            async with gate:
                await wire.send_and_leave(server.port, told[number % 2], 0.02 * (number % 7))

        await asyncio.gather(*(one(number) for number in range(1000)))

    with Flat(server, slack_mb=100):
        asyncio.run(go_away())
    time.sleep(2)
    began = cpu_s(server)
    time.sleep(2)
    assert cpu_s(server) - began < 1  # nothing is composed for nobody
    again = [_rate_and_cost(server) for _ in range(3)]
    assert max(rate for rate, _ in again) > 0.6 * before, (before, again)  # with one of two cores it is half
    assert min(one for _, one in again) < 1.3 * cost, (cost, again)


def _rate_and_cost(server):
    """Answers per second, and CPU-seconds of the replicas for each."""
    began, now = cpu_s(server), time.monotonic()
    rate = _rate(server, {"count": 8})
    return rate, (cpu_s(server) - began) / (rate * (time.monotonic() - now))


def test_a_request_that_takes_too_long_is_told_to_come_again(server, client):
    """Our own 503, which a proxy must not turn into another."""
    body = {"count": 15, "size": 2048}
    with concurrent.futures.ThreadPoolExecutor(60) as threads:
        found = list(
            threads.map(lambda seed: client.post("/v1/compose", json=body | {"seed": seed}), range(60))
        )
    late = [answer for answer in found if answer.status_code != 200]
    assert late and {answer.status_code for answer in late} <= {503, 429}
    for answer in late:
        assert int(answer.headers["retry-after"]) >= 1
        check_problem(answer, answer.status_code, server.home)
    _until(lambda: client.post("/v1/compose", json={"count": 1}).status_code == 200, 30)


# --- H9: a replica dies -----------------------------------------------------------------------------


def test_a_killed_replica_costs_a_retry_and_no_answer(server, client):
    """Idempotent requests of four clients, while one of two replicas is killed and comes again."""
    first = server.replicas
    assert len(first) == 2
    expected = {index: client.get(f"/v1/samples/one/7/{index}").content for index in range(8)}
    ends, lost = time.monotonic() + 8, itertools.count()

    def ask(number):
        with server.client() as own:
            for index in itertools.cycle(range(8)):
                if time.monotonic() > ends:
                    return
                for _ in range(20):
                    try:
                        answer = own.get(f"/v1/samples/one/7/{index}")
                    except httpx.TransportError:
                        answer = None
                    if answer is not None and answer.status_code == 200:
                        break
                    assert answer is None or answer.status_code in (500, 502, 503), answer.text
                    next(lost)
                    time.sleep(0.2)
                else:
                    raise AssertionError("20 tries in a row failed")
                assert answer.content == expected[index]

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        running = [threads.submit(ask, number) for number in range(4)]
        time.sleep(2)
        os.kill(first[0], signal.SIGKILL)
        for one in running:
            one.result()
    assert next(lost) <= 40  # those in flight, and their first retries
    _until(lambda: len(server.replicas) == 2 and first[0] not in server.replicas, 60)
    assert client.post("/v1/compose", json={"count": 2}).status_code == 200


# --- The end ----------------------------------------------------------------------------------------


def test_ctrl_c_ends_everything_soon_and_quietly(server):
    """The last one: there is no server after it."""
    with server.client() as client:
        client.get("/v1/pool")  # a connection that is kept alive
        family = [*server.proxies, *server.replicas, *server.pids("raylet", "gcs_server", "ray::")]
        before = server.said()
        assert server.end() < 15  # 5 s on an idle machine
    assert server.process.returncode == 0
    _until(lambda: not alive(family), 5)
    assert server.said() == before  # and nothing of Ray's inside
    assert before.startswith("starting Ray Serve ...\nserving ")
    assert TOKEN not in server.said()
