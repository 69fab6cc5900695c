"""Refusals at the door while the replicas are full.

To be refused by a replica costs a request as much as a light one that is answered: ten milliseconds of the
cores that compose. In an overload that is a third of them.
"""

import math
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xpaste_ray.serve.problems import problem_response, too_many

HOLD_S = 0.05  # much less than a full queue lasts, so that no core is without work for it


class Relief:
    """ASGI middleware. After a 429 for a path, others for that path hear the same for a moment."""

    def __init__(self, app: ASGIApp, hold_s: float = HOLD_S) -> None:
        self._app, self._hold_s = app, hold_s
        self._path, self._until, self._wait_s = "", -math.inf, 1.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == self._path and time.monotonic() < self._until:
            told = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
            response = problem_response(too_many(self._wait_s), told.decode("latin-1")[:128])
            await response(scope, receive, send)
            return

        async def look(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 429:
                self._hear(scope["path"], dict(message.get("headers", ())))
            await send(message)

        await self._app(scope, receive, look)

    def _hear(self, path: str, headers: dict[bytes, bytes]) -> None:
        wait = headers.get(b"retry-after", b"1")
        self._wait_s = float(wait) if wait.isdigit() else 1.0
        self._path, self._until = path, time.monotonic() + self._hold_s
