"""What both clients share: everything but sending, receiving and waiting."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from xpaste_ray.client.answers import Answer, error_of
from xpaste_ray.client.calls import Call
from xpaste_ray.client.errors import Unreachable
from xpaste_ray.client.retries import Attempts, Retries
from xpaste_ray.client.versions import Pin, Versions
from xpaste_ray.errors import ConfigError

TOKEN_VARIABLE = "XPASTE_SERVE_TOKEN"

_CONNECT_S = 5.0

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One service, who asks, and what is remembered of its answers."""

    def __init__(
        self, url: str, token: str | None, retries: Retries, silence_s: float, pin: bool | Versions
    ) -> None:
        """ConfigError."""
        if silence_s <= 0:
            raise ConfigError("silence_s must be above 0")
        self.url = _checked_url(url)
        self._token = _checked_token(token)
        self._retries, self._silence_s = retries, silence_s
        self._pin = Pin(None if isinstance(pin, bool) else pin) if pin else None

    def options(self) -> dict[str, Any]:
        """For httpx's clients. No answer is packed: images are, and their bytes are checked as they are. No
        redirection is followed: it could lead the token elsewhere."""
        headers = {"Accept-Encoding": "identity"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return {"base_url": self.url, "headers": headers, "follow_redirects": False, "timeout": _CONNECT_S}

    def attempts(self) -> Attempts:
        return Attempts(self._retries)

    def versioned(self, call: Call[T]) -> Call[T]:
        """The call as it is sent: for the pinned version."""
        return call.by_version(self._pin.pool_version) if self._pin else call

    def request(self, call: Call[T], attempts: Attempts) -> dict[str, Any]:
        """For httpx's `stream`."""
        left_s = max(attempts.seconds_left, 0.001)
        silence_s = min(self._silence_s, left_s)
        return {
            "method": call.method,
            "url": call.path,
            "params": dict(call.query),
            "json": call.body,
            "headers": {"Accept": call.accept},
            "timeout": httpx.Timeout(silence_s, connect=min(_CONNECT_S, left_s)),
        }

    def conclude(self, call: Call[T], answer: Answer) -> T:
        """What the answer says, checked. ClientError."""
        answer.body.seek(0)
        if not 200 <= answer.status < 300:
            raise error_of(answer)
        value = call.read(answer)
        if self._pin:
            self._pin.check(answer.told_versions, call.name, answer.etag)
        return value

    @contextmanager
    def failures_told(self) -> Iterator[None]:
        """Errors of httpx as ours."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise Unreachable(f"{self.url} was silent for too long ({type(error).__name__})") from error
        except httpx.RequestError as error:
            raise Unreachable(f"no whole answer from {self.url} ({type(error).__name__}: {error})") from error


def check_time(attempts: Attempts) -> None:
    """Unreachable if an answer that still comes has taken all the time there is."""
    if not attempts.seconds_left:
        raise Unreachable("the answer came too slowly")


def described(method: F, make: Callable[..., Any]) -> F:
    """The method that sends what `make` makes, with the name and the words of that."""
    method.__name__, method.__qualname__, method.__doc__ = make.__name__, make.__name__, make.__doc__
    return method


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ConfigError(f"the service's address is malformed ({error}): write http://HOST:PORT") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"the service's address must be http://HOST:PORT or https://HOST, got {url!r}")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise ConfigError("the service's address has a user, ? or #: give the token as token=")
    return url


def _checked_token(token: str | None) -> str:
    """The given one, or the environment's; nothing if there is none. No message shows it."""
    found = (os.environ.get(TOKEN_VARIABLE, "") if token is None else token).strip()
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise ConfigError(f"token, or {TOKEN_VARIABLE}, has characters that no token has: give it alone")
    return found
