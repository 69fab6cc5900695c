"""What stands in front of Ray's own servers: bodies are counted before anyone reads them."""

import asyncio
import json

import pytest

from xpaste_ray.serve.front import BODY_BYTES_VARIABLE, Front, middlewares
from xpaste_ray.serve.guard import WHOLE_BODY


class Inner:
    """An app that reads the body, and answers with its size. seen: what it heard."""

    def __init__(self) -> None:
        self.seen, self.scope, self.whole = [], None, False

    async def __call__(self, scope, receive, send):
        self.scope, size = scope, 0
        while True:
            message = await receive()
            self.seen.append(message["type"])
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        self.whole = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(size).encode()})


def _ask(front, parts, headers=(), wait_s=0.0):
    """(status, body) of a request whose body comes in parts, one every `wait_s`; the client goes on None."""
    sent, left = [], list(parts)

    async def receive():
        await asyncio.sleep(wait_s)
        if not left:
            await asyncio.sleep(30)  # nothing more comes
        part = left.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}
    asyncio.run(asyncio.wait_for(front(scope, receive, send), 20))
    status = sent[0]["status"] if sent else None
    return status, b"".join(message.get("body", b"") for message in sent[1:])


def test_a_body_up_to_the_ceiling_comes_through_as_it_is():
    inner = Inner()
    assert _ask(Front(inner, 10, 5), [b"12345", b"67890"], [(b"content-length", b"10")]) == (200, b"10")


@pytest.mark.parametrize("told", [b"11", b"99999999999999999999999999", b"-1", b"ten", b""])
def test_a_body_that_says_to_be_too_large_is_never_read(told):
    inner = Inner()
    status, body = _ask(Front(inner, 10, 5), [b"x"], [(b"content-length", told)])
    assert status == 413 and not inner.whole
    assert json.loads(body)["detail"] == "a body has 10 bytes at most"


def test_a_body_that_turns_out_too_large_is_refused_and_no_one_has_it():
    inner = Inner()
    status, body = _ask(Front(inner, 10, 5), [b"123456"] * 5)
    assert status == 413 and not inner.whole and json.loads(body)["status"] == 413


def test_a_body_that_comes_too_slowly_is_refused():
    inner = Inner()
    status, body = _ask(Front(inner, 1000, 0.2), [b"x"] * 100, wait_s=0.05)
    assert status == 408 and not inner.whole
    assert json.loads(body)["detail"] == "the body did not arrive within 0.2 s"


def test_a_client_that_goes_is_answered_nothing():
    inner = Inner()
    assert _ask(Front(inner, 10, 5), [b"1", None])[0] is None and not inner.whole


def test_clients_do_not_change_the_operators_timeouts():
    inner = Inner()
    theirs = [(b"x-request-timeout-seconds", b"1e9"), (b"X-Request-Disconnect-Disabled", b"?1")]
    _ask(Front(inner, 10, 5), [b"1"], [*theirs, (b"accept", b"*/*")])
    names = {name.lower() for name, _ in inner.scope["headers"]}
    assert b"accept" in names and not names & {name.lower() for name, _ in theirs}


def test_the_operator_sets_the_ceiling_by_a_variable(monkeypatch):
    def ceiling():
        (ours,) = (one for one in middlewares() if one.cls is Front)
        return ours.kwargs["body_bytes"]

    monkeypatch.delenv(BODY_BYTES_VARIABLE, raising=False)
    assert ceiling() == 1_048_576
    monkeypatch.setenv(BODY_BYTES_VARIABLE, "2048")
    assert ceiling() == 2048


def test_what_is_no_request_passes():
    inner_heard = []

    async def inner(scope, receive, send):
        inner_heard.append(scope["type"])

    asyncio.run(Front(inner, 10, 5)({"type": "lifespan"}, None, None))
    assert inner_heard == ["lifespan"]


def test_a_whole_body_goes_with_the_request_so_that_the_replica_does_not_ask_for_it():
    inner = Inner()
    _ask(Front(inner, 10, 5), [b"12", b"345"])
    assert inner.scope[WHOLE_BODY] == b"12345" and inner.whole  # another application reads it as ever


def test_where_no_other_application_is_a_small_body_is_not_brought_once_more():
    heard = []

    async def inner(scope, receive, send):
        heard.append(scope[WHOLE_BODY])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.1)  # until the client goes

    _ask(Front(inner, 10, 5, alone=True), [b"12", b"345"])
    assert heard == [b"12345"]


def test_a_large_body_is_read_as_it_comes():
    inner = Inner()
    assert _ask(Front(inner, 100_000, 5), [b"x" * 70_000, b"x"]) == (200, b"70001")
    assert WHOLE_BODY not in inner.scope


def test_a_client_that_goes_in_the_middle_has_sent_no_whole_body():
    inner = Inner()
    _ask(Front(inner, 10, 5), [b"12", None])
    assert WHOLE_BODY not in (inner.scope or {})
