"""Hours are not tested; what would grow in hours is seen in minutes."""

import concurrent.futures
import itertools
import statistics
import time

import numpy as np
import pytest

from tests.serve.live import live

LOAD = 0.7
BODY = {"count": 8}
CLIENTS = 4


@pytest.fixture(scope="module", params=[False, True], ids=["ray-proxy", "haproxy"])
def server(request):
    with live(haproxy=request.param) as started:
        yield started


@pytest.mark.faults
def test_half_a_minute_of_load_leaves_no_trace(server):
    soak(server, seconds=30, most_mb_per_minute=30)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_minutes_of_load_leave_no_trace(server):
    soak(server, seconds=600, most_mb_per_minute=1)


def soak(server, seconds, most_mb_per_minute):
    """Most of what the service can do, for so long: every request is answered, as fast at the end as at the
    beginning, no process grows, and nothing is left over."""
    _load(server, 5, rate=1000)  # all is warm, and each heap as large as it gets
    peak = len(_load(server, 10, rate=1000)) / 10
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        load = thread.submit(_load, server, seconds, LOAD * peak)
        told = _memory_until(server, load)
        took = load.result()
    for pid, slope in _slopes(told).items():
        assert slope < most_mb_per_minute, (pid, slope, {t: m[pid] for t, m in told.items()})
    assert len(took) > 0.6 * LOAD * peak * seconds  # others may use the machine, too
    third = len(took) // 3
    assert statistics.median(took[-third:]) < 2 * statistics.median(took[:third]) + 0.05
    again = [len(_load(server, 5, rate=1000)) / 5 for _ in range(3)]
    assert max(again) > 0.6 * peak, (peak, again)  # no place is lost: there is one core, so it would be all


def _load(server, seconds, rate):
    """Seconds of each answer, in order. rate: requests a second of all clients together, at most."""
    began, numbers, took = time.monotonic(), itertools.count(), []

    def ask():
        with server.client() as client:
            while time.monotonic() < began + seconds:
                number = next(numbers)
                time.sleep(max(began + number / rate - time.monotonic(), 0))
                start = time.perf_counter()
                answer = client.post("/v1/compose", json=BODY | {"seed": number})
                assert answer.status_code == 200, answer.text[:300]
                took.append(time.perf_counter() - start)

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as threads:
        for one in [threads.submit(ask) for _ in range(CLIENTS)]:
            one.result()
    return took


def _memory_until(server, load):
    """Megabytes of each process by the time, until the load ends."""
    told = {}
    while not load.done():
        told[time.monotonic()] = server.memory()
        time.sleep(1)
    return told


def _slopes(told):
    """Megabytes a minute of each process in the second half: heaps take some minutes to be as large as they
    get, by 2 MB a minute at first."""
    times = list(told)[len(told) // 2 :]
    first, last = told[times[0]], told[times[-1]]
    assert set(first) == set(last), "a process ended, or was started"
    return {
        pid: float(np.polyfit([t / 60 for t in times], [told[t][pid] for t in times], 1)[0]) for pid in first
    }
