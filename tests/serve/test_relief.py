"""Refusals before a replica is asked."""

import asyncio

import httpx
from starlette.responses import Response

from xpaste_ray.serve.relief import Relief


def statuses(asked, full, lasts_s, most_s=60):
    """What the paths get, one after another (a number is a pause, in seconds), and which reached the app.
    lasts_s: what its queue takes, as it tells."""
    reached = []

    async def app(scope, receive, send):
        reached.append(scope["path"])
        is_full = scope["path"] == "/v1/compose" and full
        told = {"Retry-After": "7", "X-Queue-Seconds": str(lasts_s)}
        await Response(status_code=429 if is_full else 200, headers=told)(scope, receive, send)

    async def ask():
        transport = httpx.ASGITransport(Relief(app, most_s))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            found = []
            for one in asked:
                if isinstance(one, float):
                    await asyncio.sleep(one)
                else:
                    answer = await client.post(one, headers={"X-Request-Id": "abc"})
                    found.append((answer.status_code, answer.headers["Retry-After"]))
                    last = answer
            return found, last

    found, last = asyncio.run(ask())
    return found, reached, last


def test_after_a_refusal_others_hear_the_same_and_no_replica_is_asked():
    found, reached, last = statuses(["/v1/compose"] * 4, full=True, lasts_s=7.2)
    assert found == [(429, "7")] * 4
    assert reached == ["/v1/compose"]
    assert last.json()["request_id"] == last.headers["X-Request-ID"] == "abc"
    assert last.json()["status"] == 429


def test_other_paths_are_asked_for_as_ever():
    found, reached, _ = statuses(["/v1/compose", "/readyz", "/v1/compose"], full=True, lasts_s=60)
    assert [status for status, _ in found] == [429, 200, 429]
    assert reached == ["/v1/compose", "/readyz"]


def test_once_half_of_the_queue_is_done_a_replica_is_asked_again():
    asked = ["/v1/compose", "/v1/compose", 0.2, "/v1/compose"]
    assert statuses(asked, full=True, lasts_s=0.2)[1] == ["/v1/compose"] * 2
    assert statuses(asked, full=True, lasts_s=1.0)[1] == ["/v1/compose"]


def test_a_long_queue_is_asked_again_all_the_same():
    asked = ["/v1/compose", "/v1/compose", 0.2, "/v1/compose"]
    assert statuses(asked, full=True, lasts_s=100, most_s=0.1)[1] == ["/v1/compose"] * 2


def test_who_does_not_tell_how_long_its_queue_is_is_always_asked():
    assert statuses(["/v1/compose"] * 3, full=True, lasts_s="long")[1] == ["/v1/compose"] * 3


def test_without_a_refusal_nothing_is_held():
    found, reached, _ = statuses(["/v1/compose"] * 3, full=False, lasts_s=60)
    assert [status for status, _ in found] == [200] * 3
    assert len(reached) == 3
