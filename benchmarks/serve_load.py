"""Load for the compositing service, from a process of its own: as many requests at a time, or at such times.

    python serve_load.py '{"url": "http://127.0.0.1:8000", "seconds": 10, "count": 16, "at_a_time": 2}'

prints what came back as JSON. Nobody waits for an answer before the next request of an open loop: its
requests are sent at the arrivals of a Poisson process, whatever became of those before, and the time of each
counts from when it was due.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count

import aiohttp

from xpaste_ray.rng import rng_for

LONGEST_S = 60.0  # an answer that takes longer is lost


@dataclass(frozen=True, slots=True)
class Load:
    """Either at_a_time (closed loop) or per_s (open loop). count: images of a request; request n asks for
    the samples from n * count on, the same in every run."""

    url: str
    seconds: float
    count: int = 1
    at_a_time: int = 0
    per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """at_s: since the load began. status: 0 if none came. told_when: of a refusal, whether it has a
    Retry-After."""

    at_s: float
    seconds: float
    status: int
    bytes: int = 0
    told_when: bool = False

    @property
    def ends_s(self) -> float:
        return self.at_s + self.seconds


@dataclass(slots=True)
class Outcome:
    """cpu_s: of this process, since the load began."""

    answers: list[Answer] = field(default_factory=list)
    cpu_s: float = 0.0


async def send(load: Load) -> Outcome:
    outcome = Outcome()
    timeout = aiohttp.ClientTimeout(total=LONGEST_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(load.url, timeout=timeout, connector=connector) as session:
        began, cpu = time.perf_counter(), time.process_time()

        async def ask(number: int, due_s: float) -> None:
            status, size, told_when = 0, 0, False
            body = {"count": load.count, "first": number * load.count}
            try:
                async with session.post("/v1/compose", json=body) as response:
                    async for part in response.content.iter_any():  # not kept: this is no client to imitate
                        size += len(part)
                    status, told_when = response.status, "Retry-After" in response.headers
            except (aiohttp.ClientError, TimeoutError):
                pass
            took = time.perf_counter() - began - due_s
            outcome.answers.append(Answer(due_s, took, status, size, told_when))

        async def one_after_another(numbers: Iterator[int]) -> None:
            while (now := time.perf_counter() - began) < load.seconds:
                await ask(next(numbers), now)

        async with asyncio.TaskGroup() as tasks:
            if load.at_a_time:
                numbers = count()
                for _ in range(load.at_a_time):
                    tasks.create_task(one_after_another(numbers))
            else:
                for number, due_s in enumerate(arrivals(load)):
                    await asyncio.sleep(due_s - (time.perf_counter() - began))
                    tasks.create_task(ask(number, due_s))
        outcome.cpu_s = time.process_time() - cpu
    return outcome


def arrivals(load: Load) -> list[float]:
    """Seconds, those of a Poisson process."""
    gaps = rng_for(0, "arrivals").exponential(1 / load.per_s, round(load.per_s * load.seconds))
    return gaps.cumsum().tolist()


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(send(Load(**json.loads(sys.argv[1])))))))
