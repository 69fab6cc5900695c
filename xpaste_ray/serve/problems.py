"""What a client is told when something is wrong: problem details (RFC 9457), never a trace, path or token."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
_LONGEST = 500  # characters of a text: what a client sent may come back in it


class Problem(Exception):
    """An answer that is an error. fields: of a request that is refused, (name, what is wrong) each."""

    def __init__(
        self,
        status: int,
        detail: str,
        fields: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.fields, self.headers = (
            status,
            detail,
            tuple(fields),
            dict(headers or {}),
        )
        self.more = more


def refused(field: str, what: str) -> Problem:
    """A request that asks for something that is not to be had."""
    return Problem(422, f"{field}: {what}", [(field, what)])


QUEUE_SECONDS = "X-Queue-Seconds"


def too_many(seconds: float) -> Problem:
    """All cores are busy, and enough requests wait to keep them so for `seconds`."""
    wait = max(1, round(seconds))
    headers = {"Retry-After": str(wait), QUEUE_SECONDS: f"{seconds:.3f}"}
    return Problem(429, f"too many requests are waiting: try again in {wait} s", headers=headers)


def problem_response(problem: Problem, request_id: str) -> Response:
    value: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": _cut(problem.detail),
        "request_id": request_id,
    }
    if problem.fields:
        value["errors"] = [{"field": _cut(name), "message": _cut(what)} for name, what in problem.fields]
    body = json.dumps(value | problem.more).encode()
    return Response(body, problem.status, problem.headers, MEDIA_TYPE)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
