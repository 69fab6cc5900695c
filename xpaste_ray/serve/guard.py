"""What stands before every request: who asks, and what arrives.

It goes first in a replica, and may go first in Ray's proxies, too, see `front`.
"""

import asyncio
import ipaddress
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xpaste_ray.config.serve import ServeLimits
from xpaste_ray.serve.problems import Problem, problem_response
from xpaste_ray.serve.tokens import Tokens

OPEN = ("/healthz", "/readyz")
"""Paths that need no token."""

WHOLE_BODY = "xpaste.body"
"""In the scope: a body that `front` has read. To ask Ray's proxy for it costs milliseconds."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_CLOSE = {"Connection": "close"}  # what is still on its way is not waited for


@dataclass(slots=True)
class Exchange:
    """A request and its answer, as they are told of when it is over."""

    request_id: str
    method: str
    path: str
    status: int = 0
    seconds: float = 0.0
    sent_bytes: int = 0
    finished: bool = False
    told: dict[str, Any] = field(default_factory=dict)
    """What the answer adds: count, pool_version ..."""


class Listener(Protocol):
    def __call__(self, exchange: Exchange) -> None: ...


class Guard:
    """ASGI middleware: refuses without the app's work whoever has no token, and what is too large, too slow
    or no UTF-8; gives the app the whole body; tells the listener of every exchange when it is over.
    """

    def __init__(self, app: ASGIApp, rules: "Rules", listener: Listener) -> None:
        self._app, self._rules, self._listener = app, rules, listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request_id = safe_request_id(headers.get("x-request-id", ""))
        exchange = Exchange(request_id, scope["method"], scope["path"])
        scope["state"] = {**scope.get("state", {}), "exchange": exchange}
        began = time.perf_counter()

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
            elif message["type"] == "http.response.body":
                exchange.sent_bytes += len(message.get("body", b""))
                exchange.finished = not message.get("more_body", False)
            await send(message)

        try:
            await self._answer(scope, headers, receive, count, exchange)
        except asyncio.CancelledError:
            exchange.status = exchange.status or 499  # the client is gone
            raise
        finally:
            exchange.seconds = time.perf_counter() - began
            self._listener(exchange)

    async def _answer(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send, exchange: Exchange
    ) -> None:
        try:
            self._admit(scope["path"], headers)
            if scope["method"] == "POST":
                _check_media_type(headers.get("content-type", ""))
            body = scope.get(WHOLE_BODY)
            body = await self._body(headers, receive) if body is None else self._checked(headers, body)
            if body is None:
                exchange.status = 499
                return
            await self._app(scope, _Replay(body, receive), send)
        except Problem as problem:
            await problem_response(problem, exchange.request_id)(scope, receive, send)
        except Exception:
            if not exchange.finished:  # the answer's end is missing, and the client sees that
                raise

    def _admit(self, path: str, headers: Mapping[str, str]) -> None:
        if path in OPEN:
            return
        if self._rules.tokens.open_to_all:
            _check_host(headers.get("host", ""), self._rules.hosts)
        if self._rules.tokens.admits(headers.get("authorization")):
            return
        raise Problem(
            401,
            "give a token: Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": 'Basic realm="xpaste"'},  # with Bearer in it, browsers do not ask
        )

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes | None:
        """The whole body; None if the client went away. Problem if it must not be read."""
        limits = self._rules.limits
        _check_encoding(headers)
        told = headers.get("content-length", "0")
        if told.isdecimal() and int(told[:20]) > limits.body_bytes:
            raise _too_large(limits)
        parts, size = [], 0
        try:
            async with asyncio.timeout(limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limits.body_bytes:
                        raise _too_large(limits)
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise Problem(
                408, f"the body did not arrive within {limits.body_seconds:g} s", headers=_CLOSE
            ) from None
        return self._checked(headers, b"".join(parts))

    def _checked(self, headers: Mapping[str, str], body: bytes) -> bytes:
        """A whole body. Problem if it is not for the app."""
        _check_encoding(headers)
        if len(body) > self._rules.limits.body_bytes:
            raise _too_large(self._rules.limits)
        try:
            body.decode()
        except UnicodeDecodeError:
            raise Problem(422, "the body is not UTF-8", [("body", "is not UTF-8")]) from None
        return body


class Rules(Protocol):
    """The operator's, which may change."""

    @property
    def tokens(self) -> Tokens: ...

    @property
    def limits(self) -> ServeLimits: ...

    @property
    def hosts(self) -> tuple[str, ...]: ...


class _Replay:
    """`receive` for a body that was read already; then what the client does."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await self._receive()


def _check_host(host: str, known: tuple[str, ...]) -> None:
    """Problem 421 if the service is called by a name that nobody gave it, where the operator lists names.

    A web page can give this machine a name of its own (DNS rebinding) and so read what only it can reach.
    An address cannot be had that way.
    """
    name = _name(host)
    if known and name not in map(str.lower, known) and not _is_address(name):
        raise Problem(421, "this service has another name: call it by its address", headers=_CLOSE)


def _check_encoding(headers: Mapping[str, str]) -> None:
    if headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "send the body as it is, without Content-Encoding", headers=_CLOSE)


def _too_large(limits: ServeLimits) -> Problem:
    return Problem(413, f"a body has {limits.body_bytes} bytes at most", headers=_CLOSE)


def _check_media_type(content_type: str) -> None:
    """Problem 415 if it is not JSON: what any web page may send to any server unasked never is."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "send JSON, with Content-Type: application/json", headers=_CLOSE)


def safe_request_id(told: str) -> str:
    """The client's or the proxy's, if it is one that can be logged."""
    return told if _REQUEST_ID.fullmatch(told) else str(uuid.uuid4())


def _name(host: str) -> str:
    """Of a Host header, without its port; "" if there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
