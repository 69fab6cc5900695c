"""The app, asked in this process."""

import asyncio
import io
import json
import logging
import zipfile

import httpx
import numpy as np

from xpaste_ray.config.serve import ServeSettings
from xpaste_ray.serve.app import make_app
from xpaste_ray.serve.guard import Exchange
from xpaste_ray.serve.service import Service

ZIP, NPZ, MULTIPART = "application/zip", "application/x-npz", "multipart/mixed"
ARROW = "application/vnd.apache.arrow.stream"
FORMS = (ZIP, ARROW, NPZ, MULTIPART)
PLAIN = "application/problem+json"


class Asking:
    """exchanges: what the listener was told."""

    def __init__(self, settings: ServeSettings, service: Service | None = None) -> None:
        self.log = logging.getLogger("tests.serve")
        self.service = service or Service(settings, self.log)
        self.exchanges: list[Exchange] = []
        self.app = make_app(self.service, self.exchanges.append, self.log)
        self._runner = asyncio.Runner()

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.service.cores.close()
        self._runner.close()

    def run(self, work):
        """The result of a coroutine, in the app's event loop."""
        return self._runner.run(work)

    async def send(self, method: str, path: str, **more) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **more)

    def get(self, path: str, accept: str | None = None, **more) -> httpx.Response:
        headers = ({"accept": accept} if accept else {}) | more.pop("headers", {})
        return self.run(self.send("GET", path, headers=headers, **more))

    def post(self, path: str, value, accept: str | None = None, **more) -> httpx.Response:
        """value: sent as JSON; bytes as they are."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        headers = {"content-type": "application/json"} | ({"accept": accept} if accept else {})
        headers |= more.pop("headers", {})
        return self.run(self.send("POST", path, content=body, headers=headers, **more))

    def compose(self, accept: str = ZIP, **request) -> httpx.Response:
        return self.post("/v1/compose", request, accept)


def fields_of(answer: httpx.Response) -> list[str]:
    """The fields that a refused request is told of."""
    assert answer.status_code == 422, (answer.status_code, answer.text[:300])
    return [one["field"] for one in answer.json()["errors"]]


def unzipped(answer: httpx.Response) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        assert file.testzip() is None
        return {name: file.read(name) for name in file.namelist()}


def arrays(answer: httpx.Response) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as file:
        return dict(file)
