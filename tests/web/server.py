"""A real HTTP server of the tests' own, which writes its answers byte by byte as told: also wrong ones."""

import asyncio
import gzip
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.backgrounds.material import encoded, picture


@dataclass(frozen=True)
class Asked:
    """A request. address: the one of this machine that it came to."""

    path: str
    query: str
    headers: dict[str, str]
    address: str
    at_s: float


Handler = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """`routes`: what answers at a path; 404 elsewhere. `asked`: all requests, in order."""

    def __init__(self) -> None:
        self.routes: dict[str, Handler] = {}
        self.asked: list[Asked] = []
        self.port = 0
        self.loop: asyncio.AbstractEventLoop
        self.over: asyncio.Event

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def count(self, path: str) -> int:
        return sum(asked.path == path for asked in self.asked)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
            path, _, query = head[0].split(" ")[1].partition("?")
            headers = {name.lower(): value.strip() for name, _, value in (h.partition(":") for h in head[1:])}
            address = writer.get_extra_info("sockname")[0]
            asked = Asked(path, query, headers, address, asyncio.get_running_loop().time())
            self.asked.append(asked)
            await self.routes.get(path, answer(b"nothing here", status=404))(asked, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """On every address of the loopback network."""
    server, ready = Server(), threading.Event()

    async def work() -> None:
        listening = await asyncio.start_server(server.serve, "0.0.0.0", 0, ssl=tls)
        server.port = listening.sockets[0].getsockname()[1]
        server.loop, server.over = asyncio.get_running_loop(), asyncio.Event()
        ready.set()
        await server.over.wait()
        listening.close()

    thread = threading.Thread(target=asyncio.run, args=[work()])
    thread.start()
    try:
        assert ready.wait(10)
        yield server
    finally:
        server.loop.call_soon_threadsafe(server.over.set)
        thread.join()


def head(status: int = 200, **headers: object) -> bytes:
    """content_type="image/png" becomes the header Content-Type."""
    lines = [f"HTTP/1.1 {status} Something", "Connection: close"]
    lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(body: bytes, status: int = 200, length: bool = True, **headers: object) -> Handler:
    """length: whether it says how long it is."""

    async def write(asked: Asked, writer: asyncio.StreamWriter) -> None:
        told = {"content_length": len(body)} if length else {}
        writer.write(head(status, **{**told, **headers}) + body)

    return write


def in_turn(*handlers: Handler) -> Handler:
    """The first answers the first request, and so on; the last all others."""
    turns = Counter[str]()

    async def write(asked: Asked, writer: asyncio.StreamWriter) -> None:
        turn = min(turns["asked"], len(handlers) - 1)
        turns["asked"] += 1
        await handlers[turn](asked, writer)

    return write


def redirect(target: str, status: int = 302) -> Handler:
    return answer(b"", status, location=target)


async def never(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def drip(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """A byte every 20 ms: always soon enough for a limit on silence."""
    writer.write(head(content_length=100_000))
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_head(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """The same before the body."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def endless_head(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def endless(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Without a length, as much as is taken."""
    writer.write(head())
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def hang_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def cut_short(body: bytes) -> Handler:
    """Half of what was announced."""

    async def write(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head(content_length=len(body)) + body[: len(body) // 2])

    return write


async def no_http(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n\r\n")


JPEG = encoded(picture(90, 120), "JPEG", quality=90)
GZIP_BOMB = gzip.compress(bytes(50_000_000))  # 50 kB
