"""Refusals before a replica is asked."""

import asyncio

import httpx
from starlette.responses import Response

from xpaste_ray.serve.relief import Relief


def statuses(asked, full, hold_s):
    """What the paths get, one after another (a number is a pause, in seconds), and which reached the app."""
    reached = []

    async def app(scope, receive, send):
        reached.append(scope["path"])
        is_full = scope["path"] == "/v1/compose" and full
        await Response(status_code=429 if is_full else 200, headers={"Retry-After": "7"})(
            scope, receive, send
        )

    async def ask():
        transport = httpx.ASGITransport(Relief(app, hold_s))
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
    found, reached, last = statuses(["/v1/compose"] * 4, full=True, hold_s=60)
    assert found == [(429, "7")] * 4
    assert reached == ["/v1/compose"]
    assert last.json()["request_id"] == "abc" and last.json()["status"] == 429


def test_other_paths_are_asked_for_as_ever():
    found, reached, _ = statuses(["/v1/compose", "/readyz", "/v1/compose"], full=True, hold_s=60)
    assert [status for status, _ in found] == [429, 200, 429]
    assert reached == ["/v1/compose", "/readyz"]


def test_a_moment_later_a_replica_is_asked_again():
    _, reached, _ = statuses(["/v1/compose", "/v1/compose", 0.2, "/v1/compose"], full=True, hold_s=0.1)
    assert reached == ["/v1/compose"] * 2


def test_without_a_refusal_nothing_is_held():
    found, reached, _ = statuses(["/v1/compose"] * 3, full=False, hold_s=60)
    assert [status for status, _ in found] == [200] * 3
    assert len(reached) == 3
