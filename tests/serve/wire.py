"""Requests that no HTTP library would send, byte by byte."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from tests.serve.live import TOKEN

_ANSWER_S = 30


@dataclass(frozen=True)
class Answer:
    """status: 0 if the connection ended without one. seconds: from the first byte sent."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


def head(method: str, path: str, *headers: str, token: str | None = TOKEN) -> bytes:
    """A request's head without its last line. headers: "Name: value" each."""
    told = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if token:
        told.append(f"Authorization: Bearer {token}")
    return "".join(f"{line}\r\n" for line in told).encode("latin-1")


def ask(port: int, parts: Iterable[bytes]) -> Answer:
    """Send part after part until there is an answer or the connection ends."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                break
            if _readable(connection):
                break
        return _read(connection, began)


def post(port: int, path: str, body: bytes, *headers: str, token: str | None = TOKEN) -> Answer:
    told = ("Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return ask(port, [head("POST", path, *told, token=token) + b"\r\n" + body])


def get(port: int, path: str, *headers: str, token: str | None = TOKEN) -> Answer:
    """path: as it is; `..` stays."""
    return ask(port, [head("GET", path, "Connection: close", *headers, token=token) + b"\r\n"])


async def post_and_wait(port: int, path: str, body: bytes) -> Answer:
    """`post`, beside others."""
    told = ("Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close")
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        writer.write(head("POST", path, *told) + b"\r\n" + body)
        data = b"".join([part async for part in _parts(reader)])
    finally:
        writer.transport.abort()
    return _parsed(data, began)


async def _parts(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while part := await reader.read(2**20):
        yield part


async def send_and_leave(port: int, request: bytes, seconds: float) -> None:
    """Ask, wait, and be gone without a word, whatever comes."""
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await writer.drain()
        await asyncio.sleep(seconds)
        writer.transport.abort()


def _readable(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return len(connection.recv(1, socket.MSG_PEEK)) >= 0
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(_ANSWER_S)


def _read(connection: socket.socket, began: float) -> Answer:
    data = b""
    with contextlib.suppress(OSError):
        while b"\r\n\r\n" not in data and (part := connection.recv(65536)):
            data += part
    answer = _parsed(data, began)
    length, body = int(answer.headers.get("content-length", "0")), answer.body
    with contextlib.suppress(OSError):
        while len(body) < length and (part := connection.recv(65536)):
            body += part
    return Answer(answer.status, answer.headers, body, time.monotonic() - began)


def _parsed(data: bytes, began: float) -> Answer:
    top, _, body = data.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split()[1]) if first.startswith("HTTP/") else 0
    return Answer(status, headers, body, time.monotonic() - began)
