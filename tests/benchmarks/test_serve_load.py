"""The load generator, before a real server."""

import asyncio

from aiohttp import web

from benchmarks.serve_load import Load, send


def sent(answer, **load):
    """What a second of load gets of a server with this handler of /v1/compose."""

    async def both():
        app = web.Application()
        app.router.add_post("/v1/compose", answer)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            return await send(Load(f"http://127.0.0.1:{port}", **load))
        finally:
            await runner.cleanup()

    return asyncio.run(asyncio.wait_for(both(), 30))


def test_closed_loop_has_so_many_requests_open_and_no_more():
    now = most = 0

    async def answer(request):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return web.Response(body=b"12345")

    outcome = sent(answer, seconds=0.3, at_a_time=3)
    assert most == 3
    assert {(one.status, one.bytes) for one in outcome.answers} == {(200, 5)}
    assert all(one.seconds >= 0.02 for one in outcome.answers)


def test_open_loop_does_not_wait_and_counts_from_when_a_request_was_due():
    """40 in about 0.4 s, each answered 1 s after it came: one after another would take 40 s."""
    firsts = []

    async def answer(request):
        firsts.append((await request.json())["first"])
        await asyncio.sleep(1)
        return web.Response()

    outcome = sent(answer, seconds=0.4, per_s=100, count=2)
    assert sorted(firsts) == list(range(0, 80, 2))
    assert max(one.ends_s for one in outcome.answers) < 5
    assert min(one.seconds for one in outcome.answers) >= 1


def test_refusals_and_broken_connections_are_told_apart():
    async def answer(request):
        first = (await request.json())["first"]
        if first == 0:
            return web.Response(status=429, headers={"Retry-After": "1"})
        if first == 1:
            return web.Response(status=503)
        request.transport.abort()
        return web.Response()

    outcome = sent(answer, seconds=0.03, per_s=100)
    found = [(one.status, one.told_when) for one in sorted(outcome.answers, key=lambda one: one.at_s)]
    assert found == [(429, True), (503, False), (0, False)]
