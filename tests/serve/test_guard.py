"""Who is let in, and what arrives: decided before the app hears of it."""

import asyncio
import base64
import gzip
import json

import pytest

from tests.serve.asking import PLAIN
from xpaste_ray.config.serve import ServeLimits, ServeSettings
from xpaste_ray.serve.guard import WHOLE_BODY, Guard
from xpaste_ray.serve.problems import Problem
from xpaste_ray.serve.tokens import VARIABLE, Tokens

TOKEN = "a-token-of-a-test-0123"
BEARER = ("authorization", f"Bearer {TOKEN}")
JSON = ("content-type", "application/json")


class Rules:
    def __init__(self, tokens, **limits) -> None:
        self.tokens, self.limits, self.hosts = tokens, ServeLimits(**limits), ()


class Guarded:
    """An app that answers with its body, behind a guard. called: how often it was. exchanges: as heard."""

    def __init__(self, tokens, **limits) -> None:
        self.called, self.exchanges, self.answer = 0, [], None
        self.guard = Guard(self._app, Rules(tokens, **limits), self.exchanges.append)

    async def _app(self, scope, receive, send):
        self.called += 1
        if self.answer:
            await self.answer(scope, receive, send)
            return
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def ask(self, *headers, path="/v1/pool", query=b"", parts=(b"",), wait_s=0.0, whole=None):
        """(status, headers, body); a part None: the client is gone. wait_s: before each part. whole: the body
        as the front hands it over."""
        sent, left = [], list(parts)

        async def receive():
            await asyncio.sleep(wait_s)
            if not left:
                await asyncio.sleep(30)
            part = left.pop(0)
            if part is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": part, "more_body": bool(left)}

        async def send(message):
            sent.append(message)

        raw = [(name.encode(), value.encode("latin-1")) for name, value in (JSON, *headers)]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": query, "headers": raw}
        if whole is not None:
            scope[WHOLE_BODY] = whole
        asyncio.run(asyncio.wait_for(self.guard(scope, receive, send), 20))
        if not sent:
            return None, {}, b""
        head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], head, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    path = tmp_path / "tokens"
    path.write_text(TOKEN)
    return path


@pytest.fixture
def guarded(file):
    return Guarded(Tokens(ServeSettings(pool="p", token_file=str(file))))


@pytest.fixture
def open_to_all(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    tokens = Tokens(ServeSettings(pool="p", insecure=True))
    return lambda **limits: Guarded(tokens, **limits)


def test_the_token_opens_as_bearer_and_as_a_browsers_password(guarded):
    basic = "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()
    for header in (BEARER, ("authorization", basic)):
        assert guarded.ask(header, parts=[b"{}"])[::2] == (200, b"{}")
    assert guarded.called == 2


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ((), b""),
        ((("authorization", "Bearer wrong-token-of-a-test"),), b""),
        ((("authorization", f"Bearer {TOKEN[:-1]}"),), b""),
        ((("authorization", TOKEN),), b""),
        ((("x-token", TOKEN), ("cookie", f"token={TOKEN}")), b""),
        ((), f"token={TOKEN}&access_token={TOKEN}&authorization=Bearer%20{TOKEN}".encode()),
    ],
)
def test_without_the_token_the_app_is_never_called_and_the_body_never_read(guarded, headers, query):
    status, head, body = guarded.ask(*headers, query=query, parts=[])  # a body that never comes
    assert status == 401 and guarded.called == 0
    assert head["www-authenticate"] == 'Basic realm="xpaste"' and head["content-type"] == PLAIN
    assert TOKEN not in body.decode() and json.loads(body)["detail"].startswith("give a token")
    assert [one.status for one in guarded.exchanges] == [401]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_token(guarded, path):
    assert guarded.ask(path=path)[0] == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz/", "/healthz/../v1", "//healthz"])
def test_everything_else_does(guarded, path):
    assert guarded.ask(path=path)[0] == 401


def test_a_token_that_was_taken_back_opens_no_more(guarded, file, monkeypatch):
    now = [1e6]
    monkeypatch.setattr("xpaste_ray.serve.tokens.time.monotonic", lambda: now[0])
    assert guarded.ask(BEARER)[0] == 200
    file.write_text("another-token-of-a-test-4567")
    now[0] += 2
    assert guarded.ask(BEARER)[0] == 401


@pytest.mark.parametrize(
    ("headers", "parts"),
    [
        ((("content-length", "1025"),), []),  # by what it says: not a byte is waited for
        ((("content-length", "9" * 30),), []),
        ((), [b"x" * 600] * 2),  # in chunks that say nothing
        ((("content-length", "10"),), [b"x" * 600] * 2),  # or that lie
    ],
)
def test_a_body_beyond_the_ceiling_never_reaches_the_app(open_to_all, headers, parts):
    guarded = open_to_all(body_bytes=1024)
    status, head, body = guarded.ask(*headers, parts=parts)
    assert status == 413 and guarded.called == 0 and head["connection"] == "close"
    assert json.loads(body)["detail"] == "a body has 1024 bytes at most"


def test_an_endless_body_is_left_at_the_ceiling(open_to_all):
    guarded = open_to_all(body_bytes=1024)
    taken = []

    async def receive():
        taken.append(100)
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    async def send(message):
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(asyncio.wait_for(guarded.guard(scope, receive, send), 20))
    assert sum(taken) == 1100 and guarded.exchanges[0].status == 413 and guarded.called == 0


def test_a_body_that_comes_too_slowly_is_refused(open_to_all):
    guarded = open_to_all(body_seconds=0.2)
    status, head, _ = guarded.ask(parts=[b"x"] * 100, wait_s=0.05)
    assert status == 408 and guarded.called == 0 and head["connection"] == "close"
    assert 0.2 <= guarded.exchanges[0].seconds < 5


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "x-unknown"])
def test_a_packed_body_is_refused_and_never_unpacked(open_to_all, coding):
    guarded = open_to_all()
    status, _, body = guarded.ask(("content-encoding", coding), parts=[gzip.compress(b"0" * 10**6)])
    assert status == 415 and guarded.called == 0
    assert "Content-Encoding" in json.loads(body)["detail"]


@pytest.mark.parametrize("body", [b"\xff", b'{"seed": "\xc3"}', b"\xed\xa0\x80", b"\xfe\xff\x00{"])
def test_a_body_that_is_not_utf8_is_refused(open_to_all, body):
    guarded = open_to_all()
    status, _, told = guarded.ask(parts=[body[:1], body[1:]])
    assert status == 422 and guarded.called == 0
    assert json.loads(told)["errors"] == [{"field": "body", "message": "is not UTF-8"}]


def test_a_character_may_be_cut_in_two_by_the_way_it_comes(open_to_all):
    assert open_to_all().ask(parts=[b"\xc3", b"\xa9"])[::2] == (200, "é".encode())


def test_a_client_that_goes_before_its_body_is_whole_is_told_of_as_gone(open_to_all):
    guarded = open_to_all()
    assert guarded.ask(parts=[b"{", None])[0] is None
    assert guarded.called == 0 and [one.status for one in guarded.exchanges] == [499]


def test_a_client_that_goes_during_the_answer_is_told_of_as_gone(open_to_all):
    guarded = open_to_all()

    async def wait(scope, receive, send):
        await asyncio.sleep(30)

    guarded.answer = wait

    async def go():
        task = asyncio.create_task(
            guarded.guard(
                {"type": "http", "method": "GET", "path": "/v1/pool", "headers": []}, _nothing, _ignore
            )
        )
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert [(one.status, one.finished) for one in guarded.exchanges] == [(499, False)]


def test_an_answer_that_breaks_off_is_told_of_as_unfinished(open_to_all):
    guarded = open_to_all()

    async def break_off(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"12345", "more_body": True})
        raise TimeoutError

    guarded.answer = break_off
    with pytest.raises(TimeoutError):
        guarded.ask()
    (heard,) = guarded.exchanges
    assert (heard.status, heard.sent_bytes, heard.finished) == (200, 5, False)


@pytest.mark.parametrize("told", ["abc-123", "A.b:c_d", "x" * 128])
def test_a_request_id_that_can_be_logged_is_kept(guarded, told):
    _, _, body = guarded.ask(("x-request-id", told))
    assert json.loads(body)["request_id"] == told == guarded.exchanges[0].request_id


@pytest.mark.parametrize("told", ["", "x" * 129, "a b", "a\tb", "<script>", "é", '"; drop'])
def test_another_one_is_replaced(guarded, told):
    _, _, body = guarded.ask(("x-request-id", told))
    (heard,) = guarded.exchanges
    assert json.loads(body)["request_id"] == heard.request_id != told and len(heard.request_id) == 36


def test_a_problem_of_the_app_is_answered_too(open_to_all):
    guarded = open_to_all()

    async def refuse(scope, receive, send):
        raise Problem(409, "no")

    guarded.answer = refuse
    status, head, body = guarded.ask()
    assert (status, head["content-type"], json.loads(body)["detail"]) == (409, PLAIN, "no")


def test_websockets_are_closed(open_to_all):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(open_to_all().guard({"type": "websocket", "path": "/", "headers": []}, _nothing, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def _nothing():
    return {"type": "http.request", "body": b"", "more_body": False}


async def _ignore(message):
    pass


def test_a_body_that_the_front_has_read_is_not_asked_for_again_and_keeps_the_same_rules(file):
    guarded = Guarded(Tokens(ServeSettings(pool="run", insecure=True)), body_bytes=1024)
    assert guarded.ask(parts=(), whole=b"whole")[0::2] == (200, b"whole")
    assert guarded.ask(parts=(), whole=b"x" * 1025)[0] == 413
    assert guarded.ask(parts=(), whole=b"\xff")[0] == 422
    assert guarded.ask(("content-encoding", "gzip"), parts=(), whole=b"x")[0] == 415
    assert guarded.called == 1
