"""One running service for all tests of the clients."""

import asyncio
import inspect

import pytest

from tests.client.servers import TOKEN, faulty, serving, settings_for
from xpaste_ray.client import AsyncComposeClient, ComposeClient, Retries

QUICK = Retries(tries=4, seconds=20.0, first_wait_s=0.01, longest_wait_s=0.02)


@pytest.fixture(scope="package")
def live(tmp_path_factory):
    """It takes `TOKEN`, which is in the environment."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XPASTE_SERVE_TOKEN", TOKEN)
        with serving(settings_for(tmp_path_factory.mktemp("served") / "run")) as running:
            yield running


@pytest.fixture
def front(live):
    """A faulty server in front of the service."""
    with faulty(live.url) as running:
        yield running


class Plainly:
    """The async client, called as the other one is: each call runs its loop to the answer."""

    def __init__(self, *args, **kwargs):
        self._loop = asyncio.new_event_loop()
        self._client = AsyncComposeClient(*args, **kwargs)

    def __getattr__(self, name):
        return lambda *args, **kwargs: self._loop.run_until_complete(self._call(name, args, kwargs))

    async def _call(self, name, args, kwargs):
        found = getattr(self._client, name)(*args, **kwargs)
        return [one async for one in found] if inspect.isasyncgen(found) else await found

    def close(self):
        self.aclose()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


@pytest.fixture(params=[ComposeClient, Plainly], ids=["sync", "async"])
def make_client(request):
    """make_client(url): a client of either kind that waits little between tries."""
    made = []

    def make(url, *args, **kwargs):
        made.append(request.param(url, *args, **{"retries": QUICK, **kwargs}))
        return made[-1]

    yield make
    for client in made:
        client.close()
