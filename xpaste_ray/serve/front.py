"""What stands in front of Ray Serve's own servers, in its proxies and its replicas.

RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=xpaste_ray.serve.front:middlewares

They read a body as fast as it comes, into memory without bounds, while the request waits for a replica. And
they obey headers by which a client changes the operator's timeouts. `xpaste serve` sets the variable; on a
cluster it is set where Ray is started. Without it a replica still refuses, once a request is its turn.
"""

import asyncio
import os
import time
from collections import deque

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xpaste_ray.config.serve import ServeLimits
from xpaste_ray.serve.guard import WHOLE_BODY, safe_request_id
from xpaste_ray.serve.problems import Problem, problem_response
from xpaste_ray.serve.relief import Relief

VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
IMPORT_PATH = "xpaste_ray.serve.front:middlewares"
BODY_BYTES_VARIABLE = "XPASTE_SERVE_BODY_BYTES"
BODY_SECONDS_VARIABLE = "XPASTE_SERVE_BODY_SECONDS"
ALONE_VARIABLE = "XPASTE_SERVE_ALONE"
"""1 where this service is Serve's only application: small bodies then go with their requests alone, and not
once more in Ray's way, for which a replica asks its proxy."""

_SMALL_BYTES = 65_536
_LARGE_BODIES = 16  # at a time, from their arrival to the end of their answers
_REQUEST_ID = b"x-request-id"
_NOT_FROM_CLIENTS = {  # Ray obeys them, with - or _
    b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve-multiplexed-model-id",
    b"x-session-id", _REQUEST_ID,
}  # fmt: skip


def middlewares() -> list[Middleware]:
    """For Ray. A body's variables are those of `ServeLimits`, whose values hold where they are not set."""
    limits = ServeLimits()
    most = int(os.environ.get(BODY_BYTES_VARIABLE, limits.body_bytes))
    seconds = float(os.environ.get(BODY_SECONDS_VARIABLE, limits.body_seconds))
    alone = os.environ.get(ALONE_VARIABLE) == "1"
    return [Middleware(Relief), Middleware(Front, body_bytes=most, body_seconds=seconds, alone=alone)]


class Front:
    """ASGI middleware. A body beyond the ceiling is answered with 413, one that takes too long with 408.

    A request goes on to a replica, and takes one of its places, once its body is whole. Small bodies are
    always let in, of large ones only a few at a time, so that all together are little memory.

    alone: no other application is behind it, which would not know where a small body is.
    """

    def __init__(self, app: ASGIApp, body_bytes: int, body_seconds: float, alone: bool = False) -> None:
        self._app, self._bytes, self._seconds, self._alone = app, body_bytes, body_seconds, alone
        self._room = asyncio.Semaphore(_LARGE_BODIES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = next((value for name, value in scope["headers"] if name == _REQUEST_ID), b"")
        request_id = safe_request_id(told.decode("latin-1"))  # the one in Ray's logs, too
        kept = [pair for pair in scope["headers"] if _plain(pair[0]) not in _NOT_FROM_CLIENTS]
        scope["headers"] = [*kept, (_REQUEST_ID, request_id.encode())]
        body = _Body(receive, self._bytes, self._seconds)
        if any(name == b"content-length" and _above(value, self._bytes) for name, value in scope["headers"]):
            body.problem = _too_large(self._bytes)
        begun = await _held(body, _SMALL_BYTES)
        if body.ended:
            if body.is_whole:  # a large one would be in memory once more
                scope[WHOLE_BODY] = b"".join(one.get("body", b"") for one in begun)
                if self._alone:
                    begun.clear()
            await self._pass_on(scope, begun, body, send)
        elif await self._has_room():
            try:
                begun += await _held(body, self._bytes)
                await self._pass_on(scope, begun, body, send)
            finally:
                self._room.release()
        else:
            body.problem = _no_room()
        if body.problem is not None and not body.answered:
            response = problem_response(body.problem, request_id)
            response.headers["X-Request-ID"] = request_id
            await response(scope, receive, send)

    async def _pass_on(self, scope: Scope, begun: deque[Message], body: "_Body", send: Send) -> None:
        if body.problem is None:
            await self._app(scope, _Resumed(begun, body), body.unless_refused(send))

    async def _has_room(self) -> bool:
        """For a large body, which waits for it unread: its client is not asked for more meanwhile."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._room.acquire()
        except TimeoutError:
            return False


class _Body:
    """`receive` that counts. Once a body is refused, whoever reads it hears that the client is gone."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive, self._most = receive, most
        self._left, self._ends = most, time.monotonic() + seconds
        self._seconds = seconds
        self._over = False
        self.is_whole = False
        self.problem: Problem | None = None
        self.answered = False

    @property
    def ended(self) -> bool:
        """It is whole, or nothing more will come."""
        return self._over or self.problem is not None

    async def __call__(self) -> Message:
        if self.problem is not None:
            return {"type": "http.disconnect"}
        if self._over:
            return await self._receive()
        try:
            async with asyncio.timeout(max(self._ends - time.monotonic(), 0)):
                message = await self._receive()
        except TimeoutError:
            self.problem = Problem(
                408, f"the body did not arrive within {self._seconds:g} s", headers={"Connection": "close"}
            )
            return {"type": "http.disconnect"}
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.problem = _too_large(self._most)
            return {"type": "http.disconnect"}
        self._over = not message.get("more_body", False)
        self.is_whole = self._over and message["type"] == "http.request"
        return message

    def unless_refused(self, send: Send) -> Send:
        async def send_or_not(message: Message) -> None:
            if self.problem is None or self.answered:
                self.answered = True
                await send(message)

        return send_or_not


async def _held(body: _Body, most: int) -> deque[Message]:
    """What comes of a body until it ends, or is more than so many bytes."""
    messages: deque[Message] = deque()
    size = 0
    while not body.ended and size <= most:
        messages.append(await body())
        size += len(messages[-1].get("body", b""))
    return messages


class _Resumed:
    """`receive` for a body of which some is there already."""

    def __init__(self, begun: deque[Message], body: _Body) -> None:
        self._begun, self._body = begun, body

    async def __call__(self) -> Message:
        return self._begun.popleft() if self._begun else await self._body()


def _plain(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-")


def _above(value: bytes, most: int) -> bool:
    return not value.isdigit() or int(value[:20]) > most


def _too_large(most: int) -> Problem:
    return Problem(413, f"a body has {most} bytes at most", headers={"Connection": "close"})


def _no_room() -> Problem:
    return Problem(503, "too many large bodies are on their way", headers={"Retry-After": "5"})
