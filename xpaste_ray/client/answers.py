"""An answer before it is read, and the errors that it may tell."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, BinaryIO

from xpaste_ray.client.errors import (
    Busy,
    ClientError,
    DamagedAnswer,
    RequestRefused,
    ServiceFailed,
)
from xpaste_ray.client.retries import retry_after_s
from xpaste_ray.client.versions import HEADERS, Versions, changed

_COME_AGAIN = (408, 425, 429, 502, 503, 504)
_OF_A_PROXY = {  # the service's own answers of these kinds have problem details
    404: "nothing is served there yet, or the address is wrong",
    500: "the replica was lost on the way",
}
_PROBLEM = "application/problem+json"
_NEXT = {
    401: "give token=, or set XPASTE_SERVE_TOKEN",
    406: "this client asks for what the service does not have: take one of the same version",
}


@dataclass(frozen=True)
class Answer:
    """headers: whose names may be asked for in any case. body: at its beginning."""

    status: int
    headers: Mapping[str, str]
    body: BinaryIO

    @cached_property
    def json(self) -> dict[str, Any]:
        """DamagedAnswer if it is no object."""
        try:
            value = json.load(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise DamagedAnswer("the answer is not the JSON that was asked for")
        return value

    @property
    def etag(self) -> str | None:
        return self.headers.get("etag")

    @property
    def told_versions(self) -> dict[str, str]:
        """By name, those that it tells: a binary answer by headers, another one in its JSON."""
        by_header = {name: self.headers[header] for name, header in HEADERS.items() if header in self.headers}
        if by_header or not self.headers.get("content-type", "").startswith("application/json"):
            return by_header
        named = {name: self.json.get(f"{name}_version") for name in HEADERS}
        return {name: version for name, version in named.items() if isinstance(version, str)}

    @property
    def versions(self) -> Versions:
        """DamagedAnswer if one is not told."""
        told = self.told_versions
        if len(told) < len(HEADERS):
            raise DamagedAnswer("the answer does not tell which versions made it")
        return Versions(**told)


def error_of(answer: Answer) -> ClientError:
    """What an answer that is no success says, as an error to raise."""
    problem = _problem(answer)
    status, request_id = answer.status, str(problem.get("request_id", ""))
    detail = str(problem.get("detail") or _OF_A_PROXY.get(status) or _phrase(status))
    told = f"{status}: {detail}" + (f" (request {request_id})" if request_id else "")
    if status in _COME_AGAIN or (status in _OF_A_PROXY and not problem):
        return Busy(told, retry_after_s=retry_after_s(answer.headers))
    if status >= 500:
        return ServiceFailed(
            f"the service failed, {told}: its operator finds why in the log, under the request's id",
            status=status,
            request_id=request_id,
        )
    if status == 409:
        return changed(told, problem.get("pool_version"))
    if 300 <= status < 400:
        detail = f"the service is at {answer.headers.get('location', 'another address')}: give that address"
        told = f"{status}: {detail}"
    fields = [(str(one.get("field")), str(one.get("message"))) for one in problem.get("errors") or () if one]
    next_step = f"; {_NEXT[status]}" if status in _NEXT else ""
    return RequestRefused(
        told + next_step, status=status, detail=detail, fields=fields, request_id=request_id
    )


def _problem(answer: Answer) -> dict[str, Any]:
    """Problem details (RFC 9457); empty if the answer is something else, such as a proxy's page."""
    if not answer.headers.get("content-type", "").startswith(_PROBLEM):
        return {}
    try:
        return answer.json
    except DamagedAnswer:
        return {}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no status of HTTP"
