"""Refusals at the door while the replicas are full.

To be refused by a replica costs a request as much as a light one that is answered: ten milliseconds of the
cores that compose. In an overload that is a third of them.
"""

import math
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xpaste_ray.serve.guard import safe_request_id
from xpaste_ray.serve.problems import QUEUE_SECONDS, problem_response, too_many

MOST_S = 0.5
_QUEUE_SECONDS = QUEUE_SECONDS.lower().encode()


class Relief:
    """ASGI middleware. After a 429 for a path, others for that path hear the same until half of the replica's
    queue is done, so that no core is ever without work for it; for `most_s` at most."""

    def __init__(self, app: ASGIApp, most_s: float = MOST_S) -> None:
        self._app, self._most_s = app, most_s
        self._path, self._until, self._empty = "", -math.inf, -math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        now = time.monotonic()
        if scope["path"] == self._path and now < self._until:
            told = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
            request_id = safe_request_id(told.decode("latin-1"))
            response = problem_response(too_many(self._empty - now), request_id)
            response.headers["X-Request-ID"] = request_id
            await response(scope, receive, send)
            return

        async def look(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 429:
                self._hear(scope["path"], dict(message.get("headers", ())))
            await send(message)

        await self._app(scope, receive, look)

    def _hear(self, path: str, headers: dict[bytes, bytes]) -> None:
        try:
            lasts_s = float(headers.get(_QUEUE_SECONDS, b"0"))
        except ValueError:  # another app's
            lasts_s = 0.0
        now = time.monotonic()
        self._path, self._empty = path, now + lasts_s
        self._until = now + min(lasts_s / 2, self._most_s)
