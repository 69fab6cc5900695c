"""What networks, proxies and busy services do to an answer, and what a client makes of it."""

import asyncio
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest

from tests.client.conftest import QUICK
from tests.client.servers import (
    body,
    closed,
    cut,
    cut_unnoticed,
    flipped,
    header,
    raw_server,
    serving,
    settings_for,
    slow,
    status,
)  # fmt: skip
from tests.conftest import seal_discs
from xpaste_ray.client import (
    AsyncComposeClient,
    Busy,
    ComposeClient,
    DamagedAnswer,
    RequestRefused,
    Retries,
    ServiceFailed,
    Unavailable,
    Unreachable,
    VersionChanged,
)

ASKED = {"count": 2, "seed": 7, "first": 3}


@pytest.fixture
def client(make_client, front):
    return make_client(front.url)


PASSING = {
    "429": status(429), "502": status(502), "503": status(503), "504": status(504),
    "lost replica": status(500), "no route yet": status(404), "closed": closed, "cut": cut,
    "cut unnoticed": cut_unnoticed, "image": flipped(b"images/000004"),
    "annotations": flipped(b"annotations.json"), "page": body(b"<html>"),
    "no versions": header("x-pool-version", ""),
}  # fmt: skip


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_passing_failure_is_survived(client, front, live, fault):
    front.faults.extend([fault, fault])
    batch = client.compose(**ASKED)
    assert len(front.asked) == 3 and [one.number for one in batch.samples] == [3, 4]
    with ComposeClient(live.url) as direct:
        undisturbed = direct.compose(**ASKED)
    assert batch.etag == undisturbed.etag
    assert all(
        np.array_equal(a.image, b.image) for a, b in zip(batch.samples, undisturbed.samples, strict=True)
    )


LASTING = {
    "503": (status(503), Busy, "503"), "closed": (closed, Unreachable, "no whole answer"),
    "cut": (cut, Unreachable, "no whole answer"), "cut unnoticed": (cut_unnoticed, DamagedAnswer, "damaged"),
    "bit": (flipped(b"images/000003"), DamagedAnswer, "CRC"),
    "version": (header("x-pool-version", "e" * 16), DamagedAnswer, "another version"),
}  # fmt: skip


@pytest.mark.parametrize("fault, kind, words", LASTING.values(), ids=LASTING)
def test_lasting_failure_is_given_up_with_its_cause(client, front, fault, kind, words):
    front.faults.extend([fault] * 9)
    with pytest.raises(Unavailable, match="given up after 4 tries in .*Retries") as given_up:
        client.compose(**ASKED)
    assert given_up.value.tries == len(front.asked) == 4
    assert type(given_up.value.__cause__) is kind and words in str(given_up.value)


def test_answer_with_other_samples_is_not_taken(client, front, live):
    with ComposeClient(live.url) as direct:
        direct._http.headers["Accept"] = "application/zip"
        others = direct._http.post("/v1/compose", json={**ASKED, "first": 4}, headers=direct._http.headers)
    front.faults.append(body(others.content))
    assert [one.number for one in client.compose(**ASKED).samples] == [3, 4] and len(front.asked) == 2
    front.faults.extend([body(others.content)] * 4)
    with pytest.raises(Unavailable, match=r"images 4 to 5 \(2\), asked for were 3 to 4 \(2\)"):
        client.compose(**ASKED)


def test_retry_after_in_seconds_is_waited_for(client, front):
    front.faults.append(status(429, Retry_After="1"))
    client.compose(**ASKED)
    (first, _), (second, _) = front.asked
    assert 1.0 <= second - first < 3.0


def test_retry_after_as_a_date_is_by_the_services_clock(client, front):
    """An hour slow, so that by ours the date is past."""
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    told = {"Date": format_datetime(now, usegmt=True)}
    until = format_datetime(now + timedelta(seconds=1), usegmt=True)

    def fault(reply):
        reply = status(503, Retry_After=until)(reply)
        reply.headers |= told
        return reply

    front.faults.append(fault)
    client.compose(**ASKED)
    (first, _), (second, _) = front.asked
    assert 1.0 <= second - first < 3.0


def test_longer_wait_than_there_is_time_is_given_up_at_once(make_client, front):
    front.faults.append(status(503, Retry_After="3600"))
    began = time.monotonic()
    with pytest.raises(Unavailable, match="asks to wait 3600 s.*after 1 tries"):
        make_client(front.url).compose(**ASKED)
    assert time.monotonic() - began < 2


def test_refusals_and_defects_are_not_sent_again(client, front):
    def problem(reply):
        reply = status(500, content_type="application/problem+json")(reply)
        return body(b'{"detail": "this failed", "request_id": "r-1"}')(reply)

    for fault, kind in ((status(403), RequestRefused), (status(302, location="http://else"), RequestRefused),
                        (problem, ServiceFailed)):  # fmt: skip
        front.faults.append(fault)
        with pytest.raises(kind) as error:
            client.compose(**ASKED)
        assert "sorry" not in str(error.value)
    assert len(front.asked) == 3
    assert error.value.request_id == "r-1" and "r-1" in str(error.value)


def test_silence_is_not_waited_for(make_client, front):
    front.faults.extend([slow(2.0)])
    client = make_client(front.url, silence_s=0.3)
    began = time.monotonic()
    assert len(client.compose(**ASKED).samples) == 2
    assert time.monotonic() - began < 1.9


def test_answer_that_trickles_ends_with_the_calls_time(make_client):
    """A byte every 50 ms, so that it is never silent for long."""

    async def trickle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(200):
            writer.write(b".")
            await asyncio.sleep(0.05)

    with raw_server(trickle) as url:
        client = make_client(url, retries=Retries(tries=3, seconds=0.5), silence_s=5)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="too slowly"):
            client.pool()
        assert 0.4 < time.monotonic() - began < 3


def test_service_that_is_not_there_is_told_soon(make_client):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match=f"no whole answer from {address}.*ConnectError"):
            make_client(address).pool()


def test_download_leaves_nothing_behind_but_whole_files(make_client, front, tmp_path):
    client = make_client(front.url)
    target = tmp_path / "batch.zip"
    front.faults.extend([cut, flipped(b"images/000004"), status(503)])
    assert client.download(target, **ASKED) == target and len(front.asked) == 4
    whole = target.read_bytes()
    front.faults.extend([cut_unnoticed] * 4)
    with pytest.raises(Unavailable):
        client.download(target, **ASKED)
    assert target.read_bytes() == whole and [one.name for one in tmp_path.iterdir()] == ["batch.zip"]


def test_pinned_client_notices_another_version(make_client, front):
    client = make_client(front.url, pin=True)
    client.compose(**ASKED)
    front.faults.append(header("x-package-version", "9.9"))
    with pytest.raises(VersionChanged, match="package version 9.9"):
        client.compose(**ASKED)
    front.faults.append(header("etag", '"another"'))
    with pytest.raises(VersionChanged, match="another ETag"):
        client.compose(**ASKED)
    assert len(front.asked) == 3
    make_client(front.url).compose(**ASKED)  # others take what comes


def test_pinned_client_asks_for_its_version_of_the_pool(make_client, live, tmp_path):
    """The pool gets a new version while the client works."""
    with serving(settings_for(tmp_path / "first")) as service:
        client = make_client(service.url, pin=True)
        client.compose()
        seal_discs(tmp_path / "second", {"frog": 2}, "e" * 16)
        asyncio.run(service.service.update(settings_for(tmp_path / "second")))
        for ask in (client.compose, client.plans, client.pool, lambda: client.sample("small", 1, 2)):
            with pytest.raises(VersionChanged):
                ask()
        assert [one.status for one in service.heard[-4:]] == [409, 409, 200, 409]  # not composed in vain


def test_listing_that_another_pool_interrupts_is_an_error(client, front, live):
    page = b'{"pool_version": "other", "total": 1, "next_offset": null, "instances": []}'
    front.faults.extend([lambda reply: reply, body(page)])
    with pytest.raises(VersionChanged, match="while its instances were listed"):
        list(client.instances(page=5))


def test_cancelled_call_lets_go_of_its_connection_and_its_file(front, tmp_path):
    async def main():
        async with AsyncComposeClient(front.url, retries=QUICK) as client:
            front.faults.append(slow(5.0))
            task = asyncio.create_task(client.download(tmp_path / "batch.zip", **ASKED))
            while not front.asked:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled() and list(tmp_path.iterdir()) == []
            assert len((await client.compose(**ASKED)).samples) == 2

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 4
