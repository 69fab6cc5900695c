"""The real app under uvicorn, and a server in front of it that does what networks and proxies do."""

import asyncio
import http.client
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import uvicorn

from tests.conftest import seal_discs
from xpaste_ray.config.serve import ServeSettings
from xpaste_ray.serve.app import make_app
from xpaste_ray.serve.guard import Exchange
from xpaste_ray.serve.service import Service

TOKEN = "a-token-of-the-tests"
COUNTS = {"banana": 4, "frog": 3, "lion": 5}
LOG = logging.getLogger("tests.client")


@dataclass
class Live:
    """A running service. heard: every exchange since it started."""

    url: str
    service: Service
    heard: list[Exchange] = field(default_factory=list)

    def composed(self) -> list[Exchange]:
        return [one for one in self.heard if one.path == "/v1/compose"]


def settings_for(folder, **more) -> ServeSettings:
    """A pool of twelve discs on the shipped photographs, canvases of 64 px if no size is asked for."""
    pool = folder / "pools" / "pool"
    if not pool.exists():
        seal_discs(folder, COUNTS)
    given = {
        "presets": ["demo"],
        "options": {"canvas.size_hw": [64, 64]},
        "recipes": {"small": {"preset": "demo", "options": {"canvas.size_hw": [48, 64]}}},
    }
    return ServeSettings(pool=str(pool), **{**given, **more})


@contextmanager
def serving(settings: ServeSettings) -> Iterator[Live]:
    """The app under uvicorn on a free port of this machine, in a thread."""
    service = Service(settings, LOG)
    live = Live("", service)
    app = make_app(service, live.heard.append, LOG)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        live.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started, 30)
        try:
            yield live
        finally:
            server.should_exit = server.force_exit = True
            thread.join(30)
            service.cores.close()
    assert not thread.is_alive()


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.01)


@dataclass
class Reply:
    """What the service answered, for a fault to change."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut_after: int | None = None  # bytes of the body, and then the connection ends
    wait_s: float = 0.0


Fault = Callable[[Reply], Reply | None]
"""What becomes of an answer; None: the connection is closed without one."""


@dataclass
class Faulty:
    """A server in front of another one. Each of the `faults` happens to one request, in turn."""

    url: str
    faults: deque[Fault] = field(default_factory=deque)
    asked: list[tuple[float, str]] = field(default_factory=list)
    """When, and the request line."""


@contextmanager
def faulty(upstream: str) -> Iterator[Faulty]:
    told = urlsplit(upstream)
    state = Faulty("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.asked.append((time.monotonic(), self.requestline))
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            reply: Reply | None = self._ask(body)
            if state.faults:
                reply = state.faults.popleft()(reply)
            self.close_connection = True
            if reply is None:
                return
            time.sleep(reply.wait_s)
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(reply.body[: reply.cut_after])

        do_POST = do_GET

        def _ask(self, body: bytes) -> Reply:
            connection = http.client.HTTPConnection(told.hostname, told.port, timeout=30)
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in ("host", "connection")
            }
            try:
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
            finally:
                connection.close()
            kept = {name.lower(): value for name, value in answer.getheaders()}
            kept.pop("connection", None)
            kept.pop("transfer-encoding", None)
            return Reply(answer.status, kept | {"content-length": str(len(data))}, data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that went away."""

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


@contextmanager
def raw_server(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> Iterator[str]:
    """A server that does with each connection what `answer` does. Its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = asyncio.start_server(answer, "127.0.0.1", 0)
    server = asyncio.run_coroutine_threadsafe(made, loop).result(30)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)


def status(number: int, **headers: str) -> Fault:
    """Another answer, as a proxy gives it: no problem details. headers: with _ for -."""

    def fault(reply: Reply) -> Reply:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        body = b"<html>sorry</html>"
        return Reply(number, {"content-type": "text/html", "content-length": str(len(body)), **told}, body)

    return fault


def cut(reply: Reply) -> Reply:
    """The connection ends in the middle."""
    reply.cut_after = len(reply.body) // 2
    return reply


def cut_unnoticed(reply: Reply) -> Reply:
    """As `cut`, with a header that fits: so a proxy may hand on what broke behind it."""
    return _with_body(reply, reply.body[: len(reply.body) // 2])


def closed(reply: Reply) -> None:
    """No answer."""


def slow(seconds: float) -> Fault:
    def fault(reply: Reply) -> Reply:
        reply.wait_s = seconds
        return reply

    return fault


def header(name: str, value: str) -> Fault:
    def fault(reply: Reply) -> Reply:
        reply.headers[name] = value
        return reply

    return fault


def flipped(needle: bytes) -> Fault:
    """A bit of a file in the zip is another one, well behind where `needle` is first found."""

    def fault(reply: Reply) -> Reply:
        place = reply.body.index(needle) + 200
        body = bytearray(reply.body)
        body[place] ^= 1
        return _with_body(reply, bytes(body))

    return fault


def body(data: bytes) -> Fault:
    return lambda reply: _with_body(reply, data)


def _with_body(reply: Reply, data: bytes) -> Reply:
    reply.body = data
    reply.headers["content-length"] = str(len(data))
    return reply
