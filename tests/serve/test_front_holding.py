"""What a proxy does with a body that is on its way."""

import asyncio
import json

import pytest

from xpaste_ray.serve import front
from xpaste_ray.serve.front import Front


class App:
    """Reads the whole body and answers with it; counts those that it has at a time."""

    def __init__(self):
        self.now, self.headers = 0, []

    async def __call__(self, scope, receive, send):
        self.now += 1
        self.headers.append(dict(scope["headers"]))
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
        self.now -= 1


class Client:
    """send: parts of a body, at any time. answer: (status, headers, body)."""

    def __init__(self, app, *headers):
        self._parts, self._out = asyncio.Queue(), []
        scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}
        self.task = asyncio.create_task(app(scope, self._parts.get, self._take))

    async def _take(self, message):
        self._out.append(message)

    def send(self, body, more=False):
        self._parts.put_nowait({"type": "http.request", "body": body, "more_body": more})

    @property
    def unread(self):
        return self._parts.qsize()

    def leave(self):
        self._parts.put_nowait({"type": "http.disconnect"})

    async def answer(self):
        await self.task
        if not self._out:
            return None
        return self._out[0]["status"], dict(self._out[0]["headers"]), self._out[1]["body"]


def _run(scenario):
    return asyncio.run(asyncio.wait_for(scenario(), 20))


async def _settle():
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_app_is_asked_once_the_body_is_there():
    async def scenario():
        app = App()
        client = Client(Front(app, 100, 5))
        client.send(b"ab", more=True)
        await _settle()
        assert app.now == 0
        client.send(b"cd")
        return await client.answer()

    status, _, body = _run(scenario)
    assert (status, body) == (200, b"abcd")


def test_of_large_bodies_only_a_few_are_read_at_a_time_and_small_ones_go_by(monkeypatch):
    monkeypatch.setattr(front, "_SMALL_BYTES", 4)
    monkeypatch.setattr(front, "_LARGE_BODIES", 1)

    async def scenario():
        app = App()
        wrapped = Front(app, 100, 5)
        first, second, small = Client(wrapped), Client(wrapped), Client(wrapped)
        for client in (first, second):
            client.send(b"12345", more=True)
            await _settle()
            client.send(b"6", more=True)
        await _settle()
        assert (first.unread, second.unread) == (0, 1)
        small.send(b"1234")
        assert (await small.answer())[2] == b"1234"
        first.send(b"7")
        assert (await first.answer())[2] == b"1234567"
        second.send(b"8")
        return await second.answer()

    status, _, body = _run(scenario)
    assert (status, body) == (200, b"1234568")


def test_a_large_body_that_finds_no_room_is_told_to_come_again(monkeypatch):
    monkeypatch.setattr(front, "_SMALL_BYTES", 4)
    monkeypatch.setattr(front, "_LARGE_BODIES", 0)

    async def scenario():
        app = App()
        client = Client(Front(app, 100, 0.1))
        client.send(b"12345", more=True)
        return app, await client.answer()

    app, (status, headers, _) = _run(scenario)
    assert status == 503 and int(headers[b"retry-after"]) >= 1 and app.headers == []


def test_a_large_body_that_is_refused_or_left_makes_room(monkeypatch):
    monkeypatch.setattr(front, "_SMALL_BYTES", 4)
    monkeypatch.setattr(front, "_LARGE_BODIES", 1)

    async def scenario():
        wrapped = Front(App(), 100, 0.2)
        found = []
        for end in ("late", "gone", "huge", "good"):
            client = Client(wrapped)
            client.send(b"12345", more=True)
            if end == "gone":
                client.leave()
            elif end != "late":
                client.send(b"x" * (100 if end == "huge" else 1))
            answer = await client.answer()
            found.append(answer and answer[0])
        return found

    assert _run(scenario) == [408, None, 413, 200]


@pytest.mark.parametrize("parts", [[b"x" * 101], [b"x" * 60, b"x" * 60]])
def test_a_body_that_is_too_large_never_reaches_the_app(parts):
    async def scenario():
        app = App()
        client = Client(Front(app, 100, 5))
        for part in parts:
            client.send(part, more=True)
        return app, await client.answer()

    app, (status, headers, body) = _run(scenario)
    assert status == 413 and app.headers == []
    assert headers[b"x-request-id"].decode() == json.loads(body)["request_id"]


def test_a_body_that_never_ends_takes_no_place():
    async def scenario():
        app = App()
        client = Client(Front(app, 100, 0.1))
        client.send(b"{", more=True)
        return app, await client.answer()

    app, (status, _, _) = _run(scenario)
    assert status == 408 and app.headers == []


@pytest.mark.parametrize(
    "name", [b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve_multiplexed_model_id",
             b"serve-multiplexed-model-id", b"x-session-id", b"x_session_id"]
)  # fmt: skip
def test_headers_that_ray_obeys_are_the_operators(name):
    async def scenario():
        app = App()
        client = Client(Front(app, 100, 5), (name, b"1"), (b"accept", b"image/png"))
        client.send(b"")
        await client.answer()
        return app.headers

    (headers,) = _run(scenario)
    assert set(headers) == {b"accept", b"x-request-id"}


@pytest.mark.parametrize("told", [b"", b"a b", b"x" * 129, b"\xff", b'"'])
def test_every_request_has_an_id_that_can_be_logged(told):
    async def scenario():
        app = App()
        wrapped = Front(app, 100, 5)
        for value in (told, b"job-7.1"):
            client = Client(wrapped, (b"x-request-id", value))
            client.send(b"")
            await client.answer()
        return [headers[b"x-request-id"] for headers in app.headers]

    made, kept = _run(scenario)
    assert len(made) == 36 and made != told and kept == b"job-7.1"
