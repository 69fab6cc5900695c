"""Chromium without a window, driven by its DevTools protocol, and the app behind a port of its own."""

import asyncio
import base64
import json
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn

from xpaste_ray.config.serve import ServeSettings
from xpaste_ray.serve.app import make_app
from xpaste_ray.serve.service import Service

PATIENCE_S = 20.0

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass(frozen=True)
class Live:
    """The app on a port. loop: that it runs in."""

    url: str
    service: Service
    loop: asyncio.AbstractEventLoop


@contextmanager
def serving(settings: ServeSettings) -> Iterator[Live]:
    log = logging.getLogger("tests.serve")
    service = Service(settings, log)
    app = make_app(service, lambda exchange: None, log)
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="error"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(),))
    thread.start()
    try:
        _wait(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Live(f"http://127.0.0.1:{port}", service, loop)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        service.cores.close()


class Tab:
    """A page of a browser. events: what it told, such as requests and errors, as (method, parameters)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._loop, self._socket, self._number = loop, socket, 0
        self.events: list[tuple[str, dict[str, Any]]] = []

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command of the protocol."""
        self._number += 1
        return self._loop.run_until_complete(asyncio.wait_for(self._send(method, parameters), PATIENCE_S))

    async def _send(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            told = await self._socket.receive_json()
            if told.get("id") == self._number:
                assert "error" not in told, f"{method}: {told['error']}"
                return told["result"]
            self.events.append((told["method"], told["params"]))

    def value(self, expression: str) -> Any:
        """Of an expression of JavaScript, as JSON; a promise is waited for."""
        told = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, expression: str) -> Any:
        """Its value, once that is true."""
        return _wait(lambda: self.value(expression), expression)

    def open(self, url: str, until: str) -> None:
        self.events.clear()
        self.send("Page.navigate", url="about:blank")  # an address that differs by its hash is no new page
        self.send("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && ({until})")

    def size(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """By the mouse. x, y: where, as shares of the element's size."""
        box = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect();"
            " return [b.left, b.top, b.width, b.height]; })()"
        )
        place = {"x": box[0] + x * box[2], "y": box[1] + y * box[3]}
        self.send("Input.dispatchMouseEvent", type="mouseMoved", **place)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def key(self, name: str, text: str = "") -> None:
        told = {"key": name, "code": name} | ({"text": text} if text else {})
        codes = {"Escape": 27, "Tab": 9, "Enter": 13}
        told["windowsVirtualKeyCode"] = codes.get(name, 0)
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, **told)

    def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    @property
    def requested(self) -> list[str]:
        return [
            told["request"]["url"] for method, told in self.events if method == "Network.requestWillBeSent"
        ]

    @property
    def complaints(self) -> list[str]:
        """Errors in the console: exceptions, `console.error`, what the policy forbade, failed requests."""
        found = []
        for method, told in self.events:
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(told["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
                found.append(json.dumps(told["args"]))
            elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
                found.append(told["entry"]["text"])
        return found


@contextmanager
def browsing(downloads: Path | None = None) -> Iterator[Tab]:
    """A browser that reaches this machine only. downloads: a folder for them."""
    assert CHROMIUM is not None
    profile = Path(tempfile.mkdtemp(prefix="xpaste-chromium-"))
    command = [
        CHROMIUM, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}",
        "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank",
    ]  # fmt: skip
    if os.geteuid() == 0:
        command.insert(1, "--no-sandbox")  # Chromium refuses to be root without
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    loop = asyncio.new_event_loop()
    try:
        port_file = profile / "DevToolsActivePort"
        port = _wait(lambda: port_file.exists() and port_file.read_text().splitlines()[:1], "Chromium")[0]
        session, socket = loop.run_until_complete(_attach(port))
        try:
            tab = Tab(loop, socket)
            for domain in ("Page", "Runtime", "Network", "Log"):
                tab.send(f"{domain}.enable")
            if downloads is not None:
                tab.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
            yield tab
        finally:
            loop.run_until_complete(session.close())
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        loop.close()
        shutil.rmtree(profile, ignore_errors=True)


async def _attach(port: str) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
    session = aiohttp.ClientSession()
    async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
        address = next(one["webSocketDebuggerUrl"] for one in await answer.json() if one["type"] == "page")
    return session, await session.ws_connect(address, max_msg_size=0)


def _wait(condition: Any, what: str = "") -> Any:
    give_up = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < give_up, f"this did not come: {what}"
        time.sleep(0.05)
    return found
