"""URLs to bytes, many at a time, within limits that no server can stretch.

Each redirect is followed by hand, so that its target is checked as the first URL was. Answers are asked for
without compression and refused with it: nothing is ever unpacked here. Proxies and passwords of the
environment are not used.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from xpaste_ray import __version__
from xpaste_ray.errors import RowError
from xpaste_ray.web.addresses import AddressRefused, check_host, parse_url, public_socket
from xpaste_ray.web.pace import MAX_HOLD_S, Pace

_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429, *range(500, 600))
_CHUNK_BYTES = 64 * 1024
_FIRST_PAUSE_S = 0.5  # before another try, doubled after each


@dataclass(frozen=True, slots=True)
class Limits:
    """See `config.FetchedSource`. contact: how the owners of the hosts reach who runs this."""

    timeout_s: float
    max_bytes: int
    max_redirects: int
    retries: int
    connections: int
    allow_private: bool = False
    contact: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a URL. body: the whole of it, or None and the reason.

    transient: the reason may have passed another time. final_url, http_status, content_type: of the last
    answer, if there was one.
    """

    url: str
    body: bytes | None = None
    reason: str | None = None
    transient: bool = False
    final_url: str | None = None
    http_status: int | None = None
    content_type: str | None = None


class _Failed(Exception):
    """Why a try came to nothing. again: whether another try may do better now; `transient`: perhaps later.
    url, http_status: of the last answer, if there was one."""

    def __init__(
        self,
        reason: str,
        transient: bool = False,
        again: bool | None = None,
        url: URL | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason, self.transient = reason, transient
        self.again = transient if again is None else again
        self.final_url, self.http_status = None if url is None else str(url), http_status

    def outcome(self, url: str) -> Fetched:
        """url: the one that was to be fetched."""
        return Fetched(url, None, self.reason, self.transient, self.final_url, self.http_status)


class _Budget:
    """Seconds that may still be spent on one URL."""

    def __init__(self, seconds: float) -> None:
        self.left_s = seconds

    @asynccontextmanager
    async def spending(self) -> AsyncIterator[None]:
        """TimeoutError when they are spent."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.left_s):
                yield
        finally:
            self.left_s -= time.monotonic() - began


class Fetcher:
    """Fetches URLs; each ends in bytes or with a reason, and none disturbs another.

    A URL's time counts while it is looked up, connected to and read, over all redirects and tries; the wait
    for its turn at a host does not. Reasons: "bad_url", "private_address", "timeout", "connection_failed",
    "tls_failed", "http_<status>", "malformed_answer", "too_many_redirects", "too_large", "compressed",
    "incomplete". Not for two threads at a time.
    """

    def __init__(self, limits: Limits, pace: Pace, resolver: AbstractResolver | None = None) -> None:
        """resolver: another than the system's."""
        self._limits, self._pace, self._resolver = limits, pace, resolver
        self._runner = asyncio.Runner()

    def __call__(self, urls: Sequence[str]) -> list[Fetched]:
        """In their order."""
        return self._runner.run(self._all(urls))

    def close(self) -> None:
        self._runner.close()

    async def _all(self, urls: Sequence[str]) -> list[Fetched]:
        turn = asyncio.Semaphore(self._limits.connections)
        async with self._session() as session, asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(session, turn, url)) for url in urls]
        return [task.result() for task in tasks]

    def _session(self) -> aiohttp.ClientSession:
        limits = self._limits
        connector = aiohttp.TCPConnector(
            limit=limits.connections,
            use_dns_cache=False,
            resolver=self._resolver,
            socket_factory=None if limits.allow_private else public_socket,
        )
        headers = {"User-Agent": user_agent(limits.contact), "Accept-Encoding": "identity"}
        return aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # a `_Budget` has it
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def _one(self, session: aiohttp.ClientSession, turn: asyncio.Semaphore, url: str) -> Fetched:
        budget = _Budget(self._limits.timeout_s)
        pause_s = _FIRST_PAUSE_S
        for tries_left in reversed(range(self._limits.retries + 1)):
            try:
                async with turn:
                    return await self._follow(session, url, budget)
            except _Failed as failure:
                outcome = failure.outcome(url)
                if not (failure.again and tries_left and budget.left_s > 0):
                    break
            await asyncio.sleep(pause_s)
            pause_s *= 2
        return outcome

    async def _follow(self, session: aiohttp.ClientSession, text: str, budget: _Budget) -> Fetched:
        """One try, through all redirects."""
        url = _checked(text, self._limits.allow_private)
        for _ in range(self._limits.max_redirects + 1):
            await asyncio.sleep(await self._pace.reserve(url.raw_host or ""))
            answer = await self._ask(session, url, budget)
            if isinstance(answer, Fetched):
                return replace(answer, url=text)
            try:
                target = str(url.join(URL(answer)))
            except ValueError:
                raise _Failed("bad_url", url=url) from None
            url = _checked(target, self._limits.allow_private)
        raise _Failed("too_many_redirects", url=url)

    async def _ask(self, session: aiohttp.ClientSession, url: URL, budget: _Budget) -> Fetched | str:
        """What the server answers: the bytes, or where it sends us."""
        try:
            async with budget.spending(), session.get(url, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status in _REDIRECTS and location:
                    return location
                if response.status != 200:
                    raise await self._refused(url, response)
                kind = response.headers.get("Content-Type")
                body = await self._read(url, response)
                return Fetched(str(url), body, None, False, str(url), response.status, kind)
        except TimeoutError:
            raise _Failed("timeout", transient=True, url=url) from None
        except aiohttp.ClientSSLError:
            raise _Failed("tls_failed", url=url) from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                raise _Failed("private_address", url=url) from None
            raise _Failed("connection_failed", transient=True, url=url) from None
        except aiohttp.ClientPayloadError:
            raise _Failed("incomplete", transient=True, url=url) from None
        except ValueError:  # aiohttp's InvalidURL, and what Python cannot look up
            raise _Failed("bad_url", url=url) from None
        except aiohttp.ClientResponseError:
            raise _Failed("malformed_answer", url=url) from None
        except (aiohttp.ClientError, OSError):
            raise _Failed("connection_failed", transient=True, url=url) from None

    async def _refused(self, url: URL, response: aiohttp.ClientResponse) -> _Failed:
        """What a status means. All who ask the host heed its Retry-After."""
        status = response.status
        wait_s = _retry_after_s(response.headers.get("Retry-After"))
        if status in _PASSING and wait_s:
            await self._pace.hold(url.raw_host or "", wait_s)
        return _Failed(
            f"http_{status}",
            transient=status in _PASSING,
            again=status in _PASSING and wait_s <= MAX_HOLD_S,
            url=url,
            http_status=status,
        )

    async def _read(self, url: URL, response: aiohttp.ClientResponse) -> bytes:
        """The body, if it is not too large: as the server says, and in fact."""
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            raise _Failed("compressed", url=url, http_status=response.status)
        body, told = bytearray(), response.content_length or 0
        if told <= self._limits.max_bytes:
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                body += chunk
                if len(body) > self._limits.max_bytes:
                    break
        if max(told, len(body)) > self._limits.max_bytes:
            raise _Failed("too_large", url=url, http_status=response.status)
        return bytes(body)


def user_agent(contact: str | None = None) -> str:
    """How we call ourselves; some hosts turn away those that do not."""
    about = f"; {contact}" if contact else ""
    return f"xpaste-ray/{__version__} (images for instance segmentation{about})"


def _checked(text: str, allow_private: bool) -> URL:
    try:
        url = parse_url(text)
        check_host(url.raw_host or "", allow_private)
    except RowError as error:
        raise _Failed(error.reason) from None
    return url


def _retry_after_s(text: str | None) -> float:
    """Seconds, of a number or a date; 0 if there is neither."""
    if not text:
        return 0.0
    if text.strip().isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
