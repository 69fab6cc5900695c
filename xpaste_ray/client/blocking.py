"""The client that waits for its answers."""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from xpaste_ray.client import calls
from xpaste_ray.client.answers import Answer
from xpaste_ray.client.calls import Call
from xpaste_ray.client.errors import Passing
from xpaste_ray.client.retries import DEFAULT_RETRIES, Attempts, Retries
from xpaste_ray.client.session import Session, check_time, described
from xpaste_ray.client.versions import Versions

P = ParamSpec("P")
T = TypeVar("T")


def _asks(make: Callable[P, Call[T]]) -> Callable[Concatenate["ComposeClient", P], T]:
    def method(self: "ComposeClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._ask(make(*args, **kwargs))

    return described(method, make)


class ComposeClient:
    """Asks a compositing service. Threads may share one; a forked process makes its own.

    Every request is sent again after a failure that may pass. All methods raise `ClientError`s:
    RequestRefused, VersionChanged, ServiceFailed, and Unavailable after the last try.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        retries: Retries = DEFAULT_RETRIES,
        silence_s: float = 75.0,
        pin: bool | Versions = False,
    ) -> None:
        """url: http://HOST:PORT. token: that of XPASTE_SERVE_TOKEN if not given. silence_s: how long no byte
        may come, which is more than the service takes for a request. pin: take answers only by these
        versions, or if True by those of the first answer; others are VersionChanged. ConfigError."""
        self._session = Session(url, token, retries, silence_s, pin)
        self._http = httpx.Client(**self._session.options())

    compose = _asks(calls.compose)
    download = _asks(calls.download)
    plans = _asks(calls.plans)
    render = _asks(calls.render)
    sample = _asks(calls.sample)
    pool = _asks(calls.pool)
    categories = _asks(calls.categories)
    instance = _asks(calls.instance)
    instance_png = _asks(calls.instance_png)
    _page = _asks(calls.instances_page)

    def instances(self, category: str | None = None, page: int = 1000) -> Iterator[dict[str, Any]]:
        """All instances in the pool's order, asked for `page` at a time. category: only of this one.
        VersionChanged if the pool changes on the way."""
        pages = calls.Pages()
        while pages.offset is not None:
            yield from pages.add(self._page(category, pages.offset, page))

    def close(self) -> None:
        """Its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, call: Call[T]) -> T:
        attempts = self._session.attempts()
        while True:
            try:
                return self._once(self._session.versioned(call), attempts)
            except Passing as failure:
                wait_s = attempts.wait_s(failure)
            time.sleep(wait_s)

    def _once(self, call: Call[T], attempts: Attempts) -> T:
        with call.into() as body:
            with (
                self._session.failures_told(),
                self._http.stream(**self._session.request(call, attempts)) as response,
            ):
                for chunk in response.iter_bytes():
                    body.write(chunk)
                    check_time(attempts)
            return self._session.conclude(call, Answer(response.status_code, response.headers, body))
