"""Who gets the next free core of a replica."""

import asyncio
import threading

import pytest

from xpaste_ray.serve.cores import Cores
from xpaste_ray.serve.problems import Problem


def _run(scenario):
    return asyncio.run(asyncio.wait_for(scenario(), 20))


async def _waiting(cores, count):
    while cores.waiting < count:
        await asyncio.sleep(0.001)


def test_an_answer_that_has_begun_goes_before_those_that_have_not():
    async def scenario():
        cores, gate, order = Cores(1, 9), threading.Event(), []
        tasks = [asyncio.create_task(cores.run(gate.wait))]
        for name, begun in (("new-1", False), ("begun-1", True), ("new-2", False), ("begun-2", True)):
            await asyncio.sleep(0.01)
            work = lambda name=name: order.append(name)  # noqa: E731
            tasks.append(asyncio.create_task(cores.run(work, begun=begun)))
        await _waiting(cores, 4)
        gate.set()
        await asyncio.gather(*tasks)
        return order

    assert _run(scenario) == ["begun-1", "begun-2", "new-1", "new-2"]


@pytest.mark.parametrize("gone", [[0], [1], [0, 1, 2]])
def test_whoever_goes_away_while_waiting_takes_no_core_along(gone):
    async def scenario():
        cores, gate = Cores(1, 9), threading.Event()
        first = asyncio.create_task(cores.run(gate.wait))
        tasks = [asyncio.create_task(cores.run(lambda: "done")) for _ in range(3)]
        await _waiting(cores, 3)
        for number in gone:
            tasks[number].cancel()
        gate.set()
        await first
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in found] == [n in gone for n in range(3)]
        return await cores.run(lambda: "still"), cores.waiting

    assert _run(scenario) == ("still", 0)


def test_whoever_goes_away_as_the_core_comes_gives_it_back():
    async def scenario():
        cores, gate = Cores(1, 9), threading.Event()
        first = asyncio.create_task(cores.run(gate.wait))
        second = asyncio.create_task(cores.run(lambda: "done"))
        await _waiting(cores, 1)
        first.add_done_callback(lambda _: second.cancel())  # in the same turn of the loop, or the next
        gate.set()
        await asyncio.gather(first, second, return_exceptions=True)
        return await cores.run(lambda: "still"), cores.waiting

    assert _run(scenario) == ("still", 0)


def test_whoever_has_no_patience_hears_of_it_and_the_core_is_not_lost():
    async def scenario():
        cores, gate = Cores(1, 9), threading.Event()
        first = asyncio.create_task(cores.run(gate.wait))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await cores.run(lambda: "never", patience_s=0.05)
        gate.set()
        await first
        return await cores.run(lambda: "still", patience_s=5), cores.waiting

    assert _run(scenario) == ("still", 0)


def test_another_request_is_refused_only_where_all_cores_are_taken():
    async def scenario():
        cores, gate = Cores(1, 0), threading.Event()
        cores.admit()
        first = asyncio.create_task(cores.run(gate.wait))
        await asyncio.sleep(0.05)
        with pytest.raises(Problem) as told:
            cores.admit()
        gate.set()
        await first
        await asyncio.sleep(0.01)
        cores.admit()
        return told.value.status, int(told.value.headers["Retry-After"]) >= 1

    assert _run(scenario) == (429, True)
