"""Batches that are asked for before they are needed."""

import asyncio
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import islice
from threading import Thread

from xpaste_ray.client.asynchronous import AsyncComposeClient
from xpaste_ray.client.batches import Batch
from xpaste_ray.client.calls import Asked


def batches_ahead(
    client: AsyncComposeClient, asked: Iterable[Asked], in_flight: int
) -> Generator[Batch, None, None]:
    """The answers in order. At most `in_flight` of them are on their way or wait, so that many and the one
    that was handed out are in memory; nothing more is asked for until the next is taken.

    The client's: it is closed at the end, or when the iterator is closed, whatever is on its way then.
    """
    with _loop_in_a_thread(client) as loop:

        def ask(one: Asked) -> Future[Batch]:
            return asyncio.run_coroutine_threadsafe(client.compose(**one), loop)

        to_come = iter(asked)
        ahead = deque(map(ask, islice(to_come, in_flight)))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(map(ask, islice(to_come, 1)))
            yield batch


@contextmanager
def _loop_in_a_thread(client: AsyncComposeClient) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop, because a task can be ended while it waits for the network, and a thread cannot."""
    loop = asyncio.new_event_loop()
    # A daemon: a worker process that ends without closing its iterator does not wait for it.
    thread = Thread(target=loop.run_forever, name="xpaste-client", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_end(client), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(client: AsyncComposeClient) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.aclose()
    await asyncio.get_running_loop().shutdown_default_executor()
