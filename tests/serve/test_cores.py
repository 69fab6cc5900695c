import asyncio
import threading

import pytest

from xpaste_ray.serve.cores import Cores
from xpaste_ray.serve.problems import Problem


class Piece:
    """Work that has begun once `began` is set, and ends when `end` is."""

    def __init__(self) -> None:
        self.began, self.end = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.end.wait(20)
        return "done"


async def _until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def test_so_many_pieces_run_at_a_time_and_the_next_waits():
    async def check():
        cores, pieces = Cores(2, 9), [Piece() for _ in range(3)]
        tasks = [asyncio.create_task(cores.run(piece)) for piece in pieces]
        await _until(lambda: pieces[0].began.is_set() and pieces[1].began.is_set())
        await asyncio.sleep(0.02)
        assert not pieces[2].began.is_set() and cores.waiting == 1
        pieces[0].end.set()
        await _until(pieces[2].began.is_set)
        pieces[1].end.set()
        pieces[2].end.set()
        assert await asyncio.gather(*tasks) == ["done"] * 3 and cores.waiting == 0

    asyncio.run(check())


def test_a_request_beyond_those_that_may_wait_is_told_to_come_again():
    async def check():
        cores, piece = Cores(1, 1), Piece()
        cores.admit()
        running = asyncio.create_task(cores.run(piece))
        await _until(piece.began.is_set)
        cores.admit()  # this one may wait
        waiting = asyncio.create_task(cores.run(lambda: "next"))
        await _until(lambda: cores.waiting == 1)
        with pytest.raises(Problem, match="too many requests are waiting: try again in 1 s") as raised:
            cores.admit()
        assert raised.value.status == 429 and raised.value.headers["Retry-After"] == "1"
        piece.end.set()
        assert await asyncio.gather(running, waiting) == ["done", "next"]
        cores.admit()

    asyncio.run(check())


def test_how_long_to_wait_follows_from_what_pieces_took(monkeypatch):
    """One took 10 s; two wait for one core, so a third would come after 30 s, and of two cores after 15 s."""
    now = [0.0]
    monkeypatch.setattr("xpaste_ray.serve.cores.time.perf_counter", lambda: now[0])

    async def told(threads):
        cores = Cores(threads, 2)
        await cores.run(lambda: now.__setitem__(0, now[0] + 10))
        pieces = [Piece() for _ in range(threads + 2)]
        tasks = [asyncio.create_task(cores.run(piece)) for piece in pieces]
        await _until(lambda: cores.waiting == 2)
        with pytest.raises(Problem) as raised:
            cores.admit()
        for piece in pieces:
            piece.end.set()
        await asyncio.gather(*tasks)
        return raised.value.headers["Retry-After"]

    assert asyncio.run(told(1)) == "30" and asyncio.run(told(2)) == "15"


def test_whoever_goes_away_while_waiting_frees_the_place():
    async def check():
        cores, piece = Cores(1, 1), Piece()
        running = asyncio.create_task(cores.run(piece))
        await _until(piece.began.is_set)
        waiting = asyncio.create_task(cores.run(lambda: "never"))
        await _until(lambda: cores.waiting == 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert cores.waiting == 0
        cores.admit()
        piece.end.set()
        await running

    asyncio.run(check())


def test_a_piece_that_nobody_waits_for_keeps_its_core_to_its_end():
    async def check():
        cores, piece = Cores(1, 0), Piece()
        gone = asyncio.create_task(cores.run(piece))
        await _until(piece.began.is_set)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        with pytest.raises(Problem):
            cores.admit()
        piece.end.set()
        assert await asyncio.wait_for(cores.run(lambda: "next"), 20) == "next"
        cores.admit()

    asyncio.run(check())


def test_a_piece_that_fails_frees_its_core_and_is_heard(caplog):
    async def check():
        cores = Cores(1, 0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await cores.run(lambda: 1 / 0)
        piece = Piece()

        def fail_later():
            piece()
            raise ValueError("nobody waits for this")

        gone = asyncio.create_task(cores.run(fail_later))
        await _until(piece.began.is_set)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        piece.end.set()
        assert await cores.run(lambda: "next") == "next"
        cores.admit()

    asyncio.run(check())
    assert "never retrieved" not in caplog.text


def test_a_thousand_that_go_away_leave_all_cores_free():
    async def check():
        cores = Cores(2, 2000)
        tasks = [asyncio.create_task(cores.run(lambda: None)) for _ in range(1000)]
        await asyncio.sleep(0)
        for number, task in enumerate(tasks):
            if number % 10:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        pieces = [Piece(), Piece()]
        both = [asyncio.create_task(cores.run(piece)) for piece in pieces]
        await _until(lambda: all(piece.began.is_set() for piece in pieces))
        for piece in pieces:
            piece.end.set()
        assert await asyncio.gather(*both) == ["done", "done"] and cores.waiting == 0

    asyncio.run(check())
