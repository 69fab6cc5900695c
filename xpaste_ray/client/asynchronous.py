"""The client for programs that run on an event loop of asyncio."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
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


def _asks(
    make: Callable[P, Call[T]],
) -> Callable[Concatenate["AsyncComposeClient", P], Coroutine[Any, Any, T]]:
    async def method(self: "AsyncComposeClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._ask(make(*args, **kwargs))

    return described(method, make)


class AsyncComposeClient:
    """`ComposeClient` with methods to await; tasks of one event loop may share one, and may be cancelled."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        retries: Retries = DEFAULT_RETRIES,
        silence_s: float = 75.0,
        pin: bool | Versions = False,
    ) -> None:
        """As `ComposeClient`."""
        self._session = Session(url, token, retries, silence_s, pin)
        self._http = httpx.AsyncClient(**self._session.options())

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

    async def instances(self, category: str | None = None, page: int = 1000) -> AsyncIterator[dict[str, Any]]:
        """All instances in the pool's order, asked for `page` at a time. category: only of this one.
        VersionChanged if the pool changes on the way."""
        pages = calls.Pages()
        while pages.offset is not None:
            for instance in pages.add(await self._page(category, pages.offset, page)):
                yield instance

    async def aclose(self) -> None:
        """Its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _ask(self, call: Call[T]) -> T:
        attempts = self._session.attempts()
        while True:
            try:
                return await self._once(self._session.versioned(call), attempts)
            except Passing as failure:
                wait_s = attempts.wait_s(failure)
            await asyncio.sleep(wait_s)

    async def _once(self, call: Call[T], attempts: Attempts) -> T:
        with call.into() as body:
            with self._session.failures_told():
                async with self._http.stream(**self._session.request(call, attempts)) as response:
                    async for chunk in response.aiter_bytes():
                        body.write(chunk)
                        check_time(attempts)
            answer = Answer(response.status_code, response.headers, body)
            return await asyncio.to_thread(self._session.conclude, call, answer)  # decoding takes its time
